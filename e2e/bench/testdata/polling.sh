#!/bin/sh
# The usual other healer, for a comparison: asks Docker every INTERVAL seconds (5) which containers with the label LABEL
# (autoheal=true) are unhealthy, and restarts them. It asks nothing else, and remembers nothing.
while sleep "${INTERVAL:-5}"; do
	docker ps --quiet --filter health=unhealthy --filter label="${LABEL:-autoheal=true}" | xargs -r docker restart >/dev/null
done
