# Dumps each service's database into a folder named by the time, and forgets the oldest. A folder without the name's
# ending .part is whole.
set -eu
umask 077
cd /backups
exec 9>.lock
flock 9 # of two at once one waits
name=$(date -u +%Y%m%dT%H%M%SZ)
rm -rf ./*.part
mkdir "$name.part"
for secret in /run/secrets/databases/*; do
  service=$(basename "$secret")
  # Just installed, Postgres starts at the same time, and an operator makes the databases after it.
  for _ in $(seq 60); do
    ! psql -X -q -d "$(cat "$secret/url")" -c '' 2>/dev/null || break
    sleep 2
  done
  pg_dump --dbname="$(cat "$secret/url")" --format=custom --compress=6 --file="$name.part/$service.dump"
  pg_restore --list "$name.part/$service.dump" >/dev/null # can it be read?
done
sync
mv "$name.part" "$name"
echo "Made $name: $(du -sh "$name" | cut -f1)."
# The dump that is to be restored stays: the upgrade that names it makes one, too.
ls -d ????????T??????Z | grep -v -x -e "${FROM:-none}" | head -n "-$KEEP" | while read -r old; do
  rm -rf "$old"
  echo "Removed $old."
done
