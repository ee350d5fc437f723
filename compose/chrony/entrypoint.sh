#!/bin/sh
# Writes chrony.conf from the environment and runs chronyd.
set -eu
conf=/run/ghostrunner-chrony.conf
{
  for server in $(echo "${NTP_SERVERS:-pool.ntp.org}" | tr ',' ' '); do
    echo "pool $server iburst minpoll 4 maxpoll 8"
  done
  # Step whenever the offset is over a second: after a laptop's sleep it is hours, and to slew that
  # takes days.
  echo "makestep 1.0 -1"
  # This port answers questions only, and only the stack's own networks reach it.
  echo "bindcmdaddress 0.0.0.0"
  echo "cmdallow all"
  echo "driftfile /var/lib/chrony/drift"
} >"$conf"
case "${CLOCK_MODE:-step}" in
  step) exec chronyd -d -f "$conf" ;;
  observe) exec chronyd -d -x -f "$conf" ;;
  *) echo "CLOCK_MODE must be step or observe, not '$CLOCK_MODE'" >&2; exit 1 ;;
esac
