# Before each start of Postgres: makes the cluster of databases if there is none, and each service's database and owner
# with the password of its Secret, which may be another than before.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  rm -rf "$PGDATA.new"
  initdb -D "$PGDATA.new" --username=postgres --auth-local=peer --auth-host=scram-sha-256 --encoding=UTF8 \
    --locale=C.UTF-8 --data-checksums
  mv "$PGDATA.new" "$PGDATA"
fi
# It listens on its socket only: nobody gets in before it is done. After a crash, this is where Postgres recovers.
pg_ctl -D "$PGDATA" -w -t 3600 -l /dev/stderr -o "-c config_file=/etc/postgres/postgresql.conf -c listen_addresses=''" start
for secret in /run/secrets/databases/*; do
  SECRET=$secret psql -X -q -v ON_ERROR_STOP=1 -h /var/run/postgresql -U postgres -d postgres <<'SQL'
\set name `cat "$SECRET/username"`
\set password `cat "$SECRET/password"`
SELECT format('CREATE ROLE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', :'name', :'password') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
done
pg_ctl -D "$PGDATA" -m fast -w -t 600 stop
