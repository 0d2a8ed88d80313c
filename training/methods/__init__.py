"""`Method` and its subclasses: one `train_step` for each way of *updating* a network.

What differs only in its loss is a term (`terms.py`); what differs in its schedule is decided in `training/stages`.
"""
