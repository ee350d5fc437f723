# A hostile job searches for the PAT, which is $pat here, and for more rights.
set +e
bad=
found() { bad=1; echo "FOUND $*"; }
has() { grep -qF -f <(printf '%s\n' "$pat") "$@" 2>/dev/null; } # not in the arguments, where it would find itself

env | has && found "the PAT in its environment"
for process in /proc/[0-9]*; do
  for file in environ cmdline; do
    tr '\0' '\n' 2>/dev/null <"$process/$file" | has && found "the PAT in $process/$file"
  done
done
[ "$(head -c 1 /proc/1/maps 2>/dev/null)" ] && found "that the supervisor's memory can be read"
[ "$(head -c 1 /proc/1/environ 2>/dev/null)" ] && found "that the supervisor's environment can be read"
ls /proc/1/fd/ >/dev/null 2>&1 && found "that the supervisor's files can be opened"
ls /proc/1/root/ >/dev/null 2>&1 && found "a way around by the supervisor's root directory"
for file in $(grep -rlF -f <(printf '%s\n' "$pat") / --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr --devices=skip 2>/dev/null); do
  found "the PAT in $file"
done
for file in /run/secrets/* /run/github/*; do [ -r "$file" ] && found "that it can read $file"; done

kill -0 1 2>/dev/null && found "that it may kill the supervisor"
sudo -n true 2>/dev/null && found "that it may become root"
[ "$(id -u)" = 1001 ] || found "that it is user $(id -u)"
for group in $(id -G); do [ "$group" = 1001 ] || found "that it is in group $group"; done
grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status || found "capabilities: $(grep CapEff /proc/self/status)"
grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status || found "that a setuid program would work"
for place in /actions-runner/bin/Runner.Listener /usr/local/bin/ghostrunner-runner /usr/local/bin /etc /etc/passwd /run/ghostrunner /var/run/docker.sock; do
  [ -w "$place" ] && found "that it may write $place"
done
for service in exporter:10068 exporter-proxy:2375 remediator-proxy:2375 grafana:3000 remediator:10069 prometheus:9090 alertmanager:9093; do
  curl -s -m 2 -o /dev/null "http://$service/" && found "a way to $service"
done
