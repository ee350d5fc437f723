package main

import (
	"context"
	"time"

	"github.com/blueguy23/ghostrunner/internal/listener"
)

// What turns a missing source on; said in the log at the start, and by check.
const (
	remedyDocker         = "start Docker, let this user open its socket (group DOCKER_GID), or name the engine with --docker.host (DOCKER_HOST)"
	remedyToken          = "write a token into a file and name it with --github.token-file (GITHUB_PAT_FILE), or set GITHUB_PAT"
	remedyOwner          = "set --github.owner (REPO_OWNER), and --github.repo (REPO_NAME) unless the runners are an organisation's; or --github.scope (GITHUB_SCOPES)"
	remedyLabel          = "let the label ghostrunner.scope be owner/repo, an organisation or enterprises/name, or leave it away"
	remedyPermission     = "classic token: scope repo for a repository, admin:org for an organisation; fine-grained: Administration, or Self-hosted runners"
	remedyClock          = "run chronyd and name it with --clock.chrony-address (CHRONY_ADDRESS), or name an NTP server with --clock.ntp-servers (NTP_SERVERS)"
	remedyUnsynchronised = "chronyc sources shows whether chronyd reaches its servers; UDP port 123 is often blocked by firewalls and VPNs"
	remedyClockSet       = "set the clock: let chronyd step it (CLOCK_MODE=step), or `chronyc makestep` where one runs; restart the runners then"
	remedyDisk           = "mount something of that file system into this container, read-only, and name the path with --disk.paths (DISK_PATHS)"
	remedyRetrying       = "the cause is usually among the other lines (clock, dns, credential); if all are good, docker restart helps"
	remedyDNS            = "check /etc/resolv.conf here and a VPN on the host; other names: --dns.names"
)

// remedyFailure is what to do about a listener that gave up.
var remedyFailure = map[listener.Reason]string{
	listener.RegistrationDeleted: "GitHub has no such runner any more, or the clock is minutes off: look at clock first, then restart the container, which registers anew",
	listener.VersionDeprecated:   "GitHub no longer talks to this version: set RUNNER_VERSION to the newest and build the image anew",
	listener.ClockSkew:           remedyClockSet,
	listener.Unauthorized:        "GitHub refused the runner's own credentials: restart the container, which registers anew; see credential",
	listener.NotConfigured:       "the runner was started without a registration: see credential, then docker logs of the container",
	listener.Other:               "docker logs of the container says why",
}

// logOff says once what is turned off by the configuration.
func (e *exporter) logOff() {
	switch {
	case e.cfg.github.Token() == nil:
		e.logger.Warn("sources github and credential are off: no token", "remedy", remedyToken)
	case len(e.scopes) == 0:
		e.logger.Warn("sources github and credential are off: no owner", "remedy", remedyOwner)
	}
	if e.cfg.chronyAddress == "" && len(e.cfg.ntpServers) == 0 {
		e.logger.Warn("clock offset comes from GitHub's answers alone", "remedy", remedyClock)
	}
}

// logDockerOff says once that Docker did not answer in time; that it comes and goes later is the watcher's to say.
func (e *exporter) logDockerOff(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(startGrace):
	}
	if !e.dockerUp() {
		e.logger.Warn("sources container and listener are off until Docker answers", "remedy", remedyDocker)
	}
	return nil
}
