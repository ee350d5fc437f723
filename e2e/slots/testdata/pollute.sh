# A hostile job leaves files and processes for the next one wherever it can.
for dir in $(find / -xdev -type d -writable 2>/dev/null; find /dev/shm /actions-runner/_work /var/cache/ghostrunner -type d -writable); do
  echo evil >"$dir/evil" || true
done
echo EVIL=1 >/actions-runner/.env
echo 'touch /tmp/evil' >~/.bashrc
mkdir -p ~/.docker/cli-plugins && cp /bin/true ~/.docker/cli-plugins/docker-compose
setsid -f sleep 54321
(trap '' TERM INT HUP; exec -a innocent sleep 54322) &
echo "left something in: $(find / -xdev -name evil 2>/dev/null | tr '\n' ' ')"
