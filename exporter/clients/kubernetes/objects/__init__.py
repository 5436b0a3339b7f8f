"""What is kept of Kubernetes' objects: one file for each kind, each reduced from raw JSON by `of`.

Only what a verdict needs is kept, and texts that repeat are kept once: an API server hands out some 10 kB for a pod, of
which less than 1 kB stays.
"""
