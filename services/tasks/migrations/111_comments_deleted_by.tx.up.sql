-- Who deleted the comment. Of those that were deleted before, and by a service that is being replaced, nobody knows.
ALTER TABLE comments ADD COLUMN deleted_by bigint;
