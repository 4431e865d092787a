-- How many links an address has been mailed lately.
CREATE INDEX links_email ON links (lower(email)) WHERE purpose = 2;
