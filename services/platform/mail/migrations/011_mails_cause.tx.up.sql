-- The trace of who queued a mail; what sends it is linked to it.
ALTER TABLE mails ADD COLUMN traceparent text;
