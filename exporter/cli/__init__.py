"""The command line: one file for each verb.

A verb's file imports at its top what the command line itself needs, click and little else; what the verb does is imported
when it runs. So help, the version and errors of usage come at once.
"""
