"""`pileus verify` and `pileus repair`: what the databases say, compared with each other and with what is really there.

Three stages that know nothing of each other: `evidence` reads, `checks` compares (pure functions), `repairs` acts.
`catalogue.py` ties them together by the findings' names.
"""
