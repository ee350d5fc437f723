#!/bin/sh
# forget.sh PROGRAM [ARGUMENT...] becomes Prometheus or Alertmanager, which keep their data in the working directory.
#
# Both wait by the wall clock. Once a clock that was ahead is put right, Prometheus drops what its rules say, and Alertmanager
# tells nobody anything, until the time comes that they have written down already. The remediator notices such a step, leaves a
# note and restarts both. Here, once for each note, that time is put aside: of Prometheus what is not in a block yet (at most the
# last three hours) and blocks that end in the future, of Alertmanager what it has told whom. Silences stay. Nothing is removed
# but what was put aside the time before: a clock may also have been set back wrongly, and then all that is worth keeping.
set -eu
note=${NOTE:-/run/clock/set-back}
if [ -e "$note" ] && ! cmp -s "$note" forgotten/done; then
  echo "forget.sh: the clock was set back: what was written down of the time since goes to $PWD/forgotten" >&2
  # Who was stopped in the middle of it goes on, and removes nothing.
  cmp -s "$note" forgotten/begun || { rm -rf forgotten && mkdir forgotten && cp "$note" forgotten/begun; } || true
  if cmp -s "$note" forgotten/begun; then # else the disk is full, and everything stays
    for old in wal wbl chunks_head nflog; do
      if [ -e "$old" ] && [ ! -e "forgotten/$old" ]; then mv "$old" forgotten/; fi
    done
    now=$(date +%s)
    for meta in */meta.json; do
      end=$(sed -n 's/.*"maxTime": *\([0-9]*\)[0-9][0-9][0-9].*/\1/p' "$meta" 2>/dev/null | head -n 1)
      if [ "${end:-0}" -gt "$now" ]; then mv "${meta%/meta.json}" forgotten/; fi
    done
    cp "$note" forgotten/done || true
  fi
fi
exec "$@"
