"""The custom `train_step` subclasses, one for each way of *updating* a network.

What differs only in its loss is a term (`terms.py`); what differs in its schedule is the pipeline's business.
"""
