"""From two listings and the ledger to what is to be made."""
