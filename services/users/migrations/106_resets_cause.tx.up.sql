-- The trace of who asked for a link; what mails it is linked to it.
ALTER TABLE resets ADD COLUMN traceparent text;
