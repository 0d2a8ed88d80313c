"""Weights on the Hugging Face hub: where they lie, and their download into the hub's own cache.

NVIDIA publishes its Mix Transformers as `nvidia/mit-b0` to `nvidia/mit-b5`, in pickles. The files here are the same
weights as `segmentation_models.pytorch` 0.6 loads them: safetensors, in the authors' names, at fixed revisions.
"""

HOST = "https://huggingface.co"
FILE = "model.safetensors"
# By backbone (`catalogue.Network.backbone`): repository and revision.
REPOSITORIES = {
    "mit_b0": ("smp-hub/mit_b0.imagenet", "9ce53d104d92d75aabb00aae70677aaab67e7c84"),
    "mit_b1": ("smp-hub/mit_b1.imagenet", "a04bf4f13a549bce677cf79b04852e7510782817"),
    "mit_b2": ("smp-hub/mit_b2.imagenet", "868ab6f13871dcf8c3d9f90ee4519403475b65ef"),
    "mit_b3": ("smp-hub/mit_b3.imagenet", "32558d12a65f1daa0ebcf4f4053c4285e2c1cbda"),
    "mit_b4": ("smp-hub/mit_b4.imagenet", "3a3454e900a4b4f11dd60eeb59101a9a1a36b017"),
    "mit_b5": ("smp-hub/mit_b5.imagenet", "ced04d96c586b6297fd59a7a1e244fc78fdb6531"),
}


def address(backbone: str) -> str:
    """Where a person can download the backbone's file."""
    repository, revision = REPOSITORIES[backbone]
    return f"{HOST}/{repository}/resolve/{revision}/{FILE}"


def downloaded(backbone: str) -> str:
    """Path of the backbone's file in the hub's cache, downloaded if it is not there.

    Raises:
        Exception: of `huggingface_hub`, if it is neither cached nor can be downloaded.
    """
    from huggingface_hub import hf_hub_download  # takes a third of a second to import; only this needs it

    repository, revision = REPOSITORIES[backbone]
    return hf_hub_download(repository, FILE, revision=revision)
