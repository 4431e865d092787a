-- The words of the name weigh more than those of the description, so that a search can put the best match first.
DROP INDEX projects_search;
ALTER TABLE projects DROP COLUMN search;
ALTER TABLE projects ADD COLUMN search tsvector NOT NULL GENERATED ALWAYS AS (
    setweight(to_tsvector('simple', translate(name, '.,:;/_@+-~#%=&<>', repeat(' ', 16))), 'A') ||
    to_tsvector('simple', translate(description, '.,:;/_@+-~#%=&<>', repeat(' ', 16)))) STORED;
CREATE INDEX projects_search ON projects USING gin (search) WHERE deleted_at IS NULL;
