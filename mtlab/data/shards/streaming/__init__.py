"""Training batches that are streamed from shards, where a trained tower reads texts and images in every step.

The path of a batch, from the disk up:

- `epoch`: the order of all texts of an epoch, by arithmetic on seed and epoch.
- `schedule`: which texts of which epoch make each step, of one data set or of a mixture.
- `sample_reader`: reads texts with their encoded images from byte ranges of shards, which `sample_table` holds.
- `worker_reader`: reads, decodes and transforms the share of one worker process.
- `sample_loader`: runs the workers and merges their shares into one rank's `SampleBatch`.
- `batch_loader`: makes the model's `Batch` of it, with targets, masks and negatives.
"""
