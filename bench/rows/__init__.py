"""One file per workload, each with a list `ROWS`; found by `bench.row.discover`, in order of file names."""
