"""m5utils: dataset -> encoder -> embeddings -> head -> search -> relevance -> metrics -> report.

The modules are the words of that sentence, floor by floor (imports go down only):

    paths, runtime                          where things are; profile, seed, threads, device
    metrics, relevance, search, losses      pure maths on arrays and tensors
    datasets, encoders, heads               what is stored; what turns it into vectors
    embeddings, training, evaluation        encode once; fit; judge a method over seeds
    plots, report                           draw; write figures, tables and numbers
    run                                     the notebooks under Snakemake and papermill
    cli                                     `m5 ...`

Nothing is imported here: `from m5utils import metrics` costs what metrics costs.
"""
