-- The words of the title weigh more than those of the description, so that a search can put the best match first. The
-- table is written anew, and nobody reads or writes it meanwhile: some seconds for each million tasks.
DROP INDEX tasks_search;
ALTER TABLE tasks DROP COLUMN search;
ALTER TABLE tasks ADD COLUMN search tsvector NOT NULL GENERATED ALWAYS AS (
    setweight(to_tsvector('simple', translate(title, '.,:;/_@+-~#%=&<>', repeat(' ', 16))), 'A') ||
    to_tsvector('simple', translate(description, '.,:;/_@+-~#%=&<>', repeat(' ', 16)))) STORED;
CREATE INDEX tasks_search ON tasks USING gin (search) WHERE deleted_at IS NULL;
