package main

import "github.com/blueguy23/ghostrunner/internal/listener"

// Remedies that turn a missing source on, for the log at the start and for check.
const (
	remedyDocker         = "start Docker, let this user open its socket (group DOCKER_GID), or name the engine with --docker.host (DOCKER_HOST)"
	remedyToken          = "write a token into a file and name it with --github.token-file (GITHUB_PAT_FILE), or set GITHUB_PAT"
	remedyOwner          = "set --github.owner (REPO_OWNER), and --github.repo (REPO_NAME) unless the runners are an organization's; or --github.scope (GITHUB_SCOPES)"
	remedyLabel          = "set the label ghostrunner.scope to owner/repo, an organization or enterprises/name, or remove it"
	remedyPermission     = "classic token: scope repo for a repository, admin:org for an organization; fine-grained: Administration, or Self-hosted runners"
	remedyRejected       = "the token is mistyped, revoked or expired (ghostrunner_pat_expiry_timestamp_seconds has its end, if GitHub reported one): put a new one into compose/.env or its file"
	remedyClock          = "run chronyd and name it with --clock.chrony-address (CHRONY_ADDRESS), or name an NTP server with --clock.ntp-servers (NTP_SERVERS)"
	remedyUnsynchronized = "chronyc sources shows whether chronyd reaches its servers; UDP port 123 is often blocked by firewalls and VPNs"
	remedyClockSet       = "set the clock: let chronyd step it (CLOCK_MODE=step), or run `chronyc makestep`; then restart the runners"
	remedyDisk           = "mount a path of that file system into this container, read-only, and name it with --disk.paths (DISK_PATHS)"
	remedyRetrying       = "the cause is usually among the other lines (clock, dns, credential); if all are ok, restart the container"
	remedyDNS            = "check /etc/resolv.conf here and a VPN on the host; other names: --dns.names"
)

// remedyFailure is the remedy for a listener that gave up.
var remedyFailure = map[listener.Reason]string{
	listener.RegistrationDeleted: "GitHub has deleted the registration, or the clock is minutes off: check clock first, then restart the container, which registers again",
	listener.VersionDeprecated:   "GitHub no longer accepts this version: set RUNNER_VERSION to the newest and rebuild the image",
	listener.ClockSkew:           remedyClockSet,
	listener.Unauthorized:        "GitHub refused the runner's own credentials: restart the container, which registers again; see credential",
	listener.NotConfigured:       "the runner was started without a registration: see credential, then docker logs of the container",
	listener.Other:               "see docker logs of the container",
}

// logOff logs what the configuration turns off.
func (e *exporter) logOff() {
	switch {
	case e.cfg.github.Token() == nil:
		e.logger.Warn("Sources github and credential are off: no token", "remedy", remedyToken)
	case len(e.scopes) == 0:
		e.logger.Warn("Sources github and credential are off: no owner", "remedy", remedyOwner)
	}
	if e.cfg.chronyAddress == "" && len(e.cfg.ntpServers) == 0 {
		e.logger.Warn("Clock offset comes only from GitHub's answers", "remedy", remedyClock)
	}
}
