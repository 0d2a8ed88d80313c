"""What a run can be told: frozen dataclasses, composed, no inheritance.

Values live in `recipes.py`, `presets.py` and `suited.py`.

| module      | what it holds                                                                           |
|-------------|-----------------------------------------------------------------------------------------|
| experiment  | a whole run: recipe, data and model; the watch                                          |
| data        | a pair of domains, with the sizes and schedules that suit it                            |
| schedule    | how a stage trains: steps, optimiser, augmentation                                      |
| stages      | the parts of a recipe that train the segmenter: warm-up, alignment, rounds, online      |
| translation | how source images get the style of the target: FDA, CycleGAN, images of others          |
| selectors   | how a round chooses its pseudo-labels                                                   |
| sampling    | which images and crops are drawn, how often, and what is pasted between them            |
| teacher     | the mean teacher, and the weights of the labels that it gives to a batch                |
| losses      | loss terms beside the cross-entropy, and DRSL's second head                             |
| bounds      | types of numbers with their bounds                                                      |

Three independent choices make an `Experiment`: the recipe (the method, in the paper's units), the data (domains,
sizes, schedule) and the model. A part that is `None` is not used, and the command line refuses overrides for it.
A class is imported from its module. No module imports anything heavy: `--help` and `--list` stay instant. The bounds in
the types are checked where an experiment comes from outside: overrides, and the recipe.json of a run
(`experiment_json.experiment_from_json`).
"""
