# Brings the dump that is to be restored from the S3-compatible store, unless the volume has it: all that are there might
# not fit on the volume.
set -eu
name=${FROM:-}
if [ -z "$name" ]; then
  dumps=$(rclone lsf --dirs-only "$REMOTE") ||
    { echo "The store does not say which dump is its newest. Name one that the volume has: backup.restore.from." >&2; exit 1; }
  name=$(echo "$dumps" | sed 's#/$##' | grep -x '........T......Z' | sort | tail -n 1)
fi
[ -n "$name" ] || { echo "There is no dump in the store." >&2; exit 0; }
if [ -d "/backups/$name" ]; then
  echo "The volume has $name."
else
  rclone copy "$REMOTE/$name" "/backups/$name.part"
  mv "/backups/$name.part" "/backups/$name"
  echo "Downloaded $name."
fi
