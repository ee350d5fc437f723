package main

import (
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// settings is the content of the command line and the environment. Values are text, because
// preflight reports every wrong one, and a flag parser stops at the first.
type settings struct {
	command string
	app     *cli.App

	config // set by flags, or by check

	dockerUser, dockerTokenFile   string
	dockerTokenEnv                string // DOCKERHUB_TOKEN; not a flag, and no longer in the environment
	labelList, group              string
	uid, gid, passed, sudoAllowed string
	conflictWait                  string
	ntp, fallback                 string

	problems []supervisor.Problem
}

type config struct {
	github              *cli.GitHub
	scope               github.Scope
	slot                string
	labels              []string
	groupID             int64
	root                string
	user                supervisor.User
	passEnv             []string
	sessionConflictWait time.Duration
	stateFile           string
	dockerSocket        string
	dockerHub           supervisor.Login
	sudo                bool
	chrony              string
	ntpServers          []string
	dnsFallback         []netip.Addr
	timeScale           float64
}

// parse reads args and the environment. done reports that help or the version was printed.
func parse(args []string, stdout io.Writer) (s *settings, done bool, err error) {
	app := cli.New(program, "Keeps one self-hosted GitHub Actions runner slot alive; PID 1 of a runner container.", stdout)
	s = &settings{app: app, dockerTokenEnv: cli.TakeEnv("DOCKERHUB_TOKEN")}
	s.github = cli.GitHubFlags(app)
	app.Flag("runner.name", "Name of the slot; registrations are named NAME-SUFFIX. Default: the hostname.").Envar("RUNNER_NAME").StringVar(&s.slot)
	app.Flag("runner.labels", "Labels that jobs select, separated by commas.").
		Envar("RUNNER_LABELS").Default("self-hosted,linux,x64").StringVar(&s.labelList)
	app.Flag("runner.group-id", "Runner group to register in.").Envar("RUNNER_GROUP_ID").Default("1").StringVar(&s.group)
	app.Flag("runner.root", "Directory of the Actions runner, with bin/Runner.Listener.").Default("/actions-runner").StringVar(&s.root)
	app.Flag("runner.uid", "User of the listener and the jobs.").Default("1001").StringVar(&s.uid)
	app.Flag("runner.gid", "Group of the listener and the jobs.").Default("1001").StringVar(&s.gid)
	app.Flag("runner.pass-env", "Further variables that jobs may see, separated by commas.").StringVar(&s.passed)
	app.Flag("dockerhub.username", "Account at Docker Hub for docker commands of jobs; empty: none.").
		Envar("DOCKERHUB_USERNAME").StringVar(&s.dockerUser)
	app.Flag("dockerhub.token-file", "File with that account's access token, which jobs can read: it should only allow to pull. Default: the variable DOCKERHUB_TOKEN.").
		Envar("DOCKERHUB_TOKEN_FILE").StringVar(&s.dockerTokenFile)
	app.Flag("session-conflict-wait", "Seconds to wait after a session conflict before the next registration.").
		Envar("SESSION_CONFLICT_WAIT").Default("30").StringVar(&s.conflictWait)
	app.Flag("state-file", "File with the state of the slot, for the health check.").Default("/run/ghostrunner/state.json").StringVar(&s.stateFile)
	app.Flag("docker.socket", "Socket of the Docker engine for jobs. If it is mounted, jobs get its group, and with it the machine.").
		Default("/var/run/docker.sock").StringVar(&s.dockerSocket)
	app.Flag("runner.sudo", "Whether jobs may become root by sudo, and can then read the token: true or false.").
		Envar("RUNNER_SUDO").Default("false").StringVar(&s.sudoAllowed)
	app.Flag("chrony.address", "Address of chronyd, the first source of time before a registration; empty: none.").
		Envar("CHRONY_ADDRESS").StringVar(&s.chrony)
	app.Flag("ntp.servers", "NTP servers, the second source of time, separated by commas; empty: none. GitHub is the third.").
		Envar("NTP_SERVERS").StringVar(&s.ntp)
	app.Flag("dns.fallback", "Name servers, separated by commas, that are added while the container's own do not resolve GitHub's names; none: none.").
		Envar("DNS_FALLBACK").Default("1.1.1.1,8.8.8.8").StringVar(&s.fallback)
	cli.TimeScale(app, &s.timeScale)

	app.Command("run", "Run the slot until SIGTERM (the default).").Default()
	app.Command("preflight", "Check everything that the slot needs and print every problem with its remedy; exit 1 if there is one.")
	app.Command("healthcheck", "Check whether the slot is healthy; exit 1 if not.")

	s.command, done, err = app.Parse(args)
	return s, done, err
}

var (
	// slotName is what GitHub, Docker and a metric label accept. A registration adds 11 of GitHub's
	// 64 characters.
	slotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,52}$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// check completes the config and returns everything that is wrong with the settings.
func (s *settings) check() (config, []supervisor.Problem) {
	s.checkAccounts()
	s.checkRunner()
	s.checkJobs()
	s.ntpServers = cli.List(s.ntp)
	s.plain("chrony.address", s.chrony)
	s.plain("ntp.servers", strings.ReplaceAll(s.ntp, ", ", ","))
	var err error
	if s.dnsFallback, err = cli.NameServers(s.fallback); err != nil {
		s.wrong("dns.fallback", err.Error(), "set name servers such as 1.1.1.1,8.8.8.8, or none")
	}
	for _, path := range [][2]string{{"runner.root", s.root}, {"state-file", s.stateFile}} {
		if s.plain(path[0], path[1]) && !filepath.IsAbs(path[1]) {
			s.wrong(path[0], strconv.Quote(path[1])+" is not an absolute path", "start it with /")
		}
	}
	return s.config, s.problems
}

func (s *settings) checkAccounts() {
	s.plain("github.api-url", s.github.APIURL)
	s.plain("github.token-file", s.github.TokenFile)
	if s.plain("github.owner", s.github.Owner) && s.plain("github.repo", s.github.Repo) {
		scope, err := s.github.Scope()
		switch {
		case s.github.Owner == "":
			s.wrong("github.owner", "is empty", "set it to the owner of the repository, or to the organization")
		case err != nil:
			s.wrong("github.owner", "and --github.repo (REPO_NAME) do not name a repository or organization: "+err.Error(), "set REPO_OWNER=octo and REPO_NAME=hello, without a slash")
		}
		s.scope = scope
	}
	switch {
	case s.github.TokenFile == "" && s.github.TokenEnv == "":
		s.wrong("github.token-file", "is empty", "name a file that contains the token")
	case s.github.TokenFile == "" && strings.ContainsAny(s.github.TokenEnv, " \t\r\n\"'"):
		s.add("GITHUB_PAT contains white space or quotes", "remove them; if .env has Windows line ends, convert it with dos2unix")
	}
	if s.plain("dockerhub.username", s.dockerUser) && s.plain("dockerhub.token-file", s.dockerTokenFile) {
		s.dockerHub = supervisor.Login{Username: s.dockerUser, Token: cli.Secret("dockerhub.token-file", s.dockerTokenFile, s.dockerTokenEnv)}
		if s.dockerUser == "" && s.dockerTokenEnv != "" || s.dockerUser != "" && s.dockerTokenEnv+s.dockerTokenFile == "" {
			s.wrong("dockerhub.username", "and the token for Docker Hub are not both set", "set DOCKERHUB_USERNAME and DOCKERHUB_TOKEN (or --dockerhub.token-file), or none")
		}
	}
}

func (s *settings) checkRunner() {
	if s.slot == "" {
		s.slot, _ = os.Hostname() // an empty one is refused below
	}
	if s.plain("runner.name", s.slot) && !slotName.MatchString(s.slot) {
		s.wrong("runner.name", strconv.Quote(s.slot)+" is not a valid slot name", "use at most 53 letters, digits, dots, dashes and underscores, such as ci-runner-1")
	}
	if s.plain("runner.labels", strings.ReplaceAll(s.labelList, ", ", ",")) {
		var err error
		if s.labels, err = cli.Labels(s.labelList); err != nil {
			s.wrong("runner.labels", err.Error(), "separate them by commas, such as self-hosted,linux,x64")
		}
	}
	s.groupID = int64(s.number("runner.group-id", s.group, 1, 1<<53, "the number of the runner group, 1 is the default group"))
	s.sessionConflictWait = time.Duration(s.number("session-conflict-wait", s.conflictWait, 0, 3600, "seconds, such as 30")) * time.Second
}

func (s *settings) checkJobs() {
	s.user.UID = s.number("runner.uid", s.uid, 1, 1<<31, "the number of an unprivileged user, such as 1001")
	s.user.GID = s.number("runner.gid", s.gid, 1, 1<<31, "the number of an unprivileged group, such as 1001")
	if os.Geteuid() != 0 {
		s.user.UID, s.user.GID = os.Geteuid(), os.Getegid()
	}
	if groups, err := os.Getgroups(); err == nil {
		s.user.Groups = groups
	}
	if gid, ok := supervisor.DockerGroup(s.dockerSocket); ok && !slices.Contains(s.user.Groups, gid) {
		s.user.Groups = append(s.user.Groups, gid)
	}
	if s.sudo = s.sudoAllowed == "true"; !s.sudo && s.sudoAllowed != "" && s.sudoAllowed != "false" {
		s.wrong("runner.sudo", strconv.Quote(s.sudoAllowed)+" is neither true nor false", "set RUNNER_SUDO=false, or true if every job may do anything here")
	}
	s.passEnv = cli.List(s.passed)
	for _, name := range s.passEnv {
		if !envName.MatchString(name) || slices.Contains([]string{"GITHUB_PAT", "GITHUB_PAT_FILE", "DOCKERHUB_TOKEN"}, name) {
			s.wrong("runner.pass-env", strconv.Quote(name)+" cannot be passed on to jobs", "name variables without secrets, separated by commas")
		}
	}
}

// githubNames returns the names that must resolve before a registration: the API's, and with GitHub
// itself one that listeners use. Behind a proxy, which resolves names itself, there are none.
func githubNames(api string) []string {
	u, err := url.Parse(api)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err == nil && proxy != nil {
		return nil
	}
	host := u.Hostname()
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return nil
	}
	if host == "api.github.com" {
		return []string{host, "pipelines.actions.githubusercontent.com"}
	}
	return []string{host}
}

func (s *settings) add(what, remedy string) {
	s.problems = append(s.problems, supervisor.Problem{What: what, Remedy: remedy, Fatal: true})
}

func (s *settings) wrong(flag, what, remedy string) {
	s.add("--"+flag+" ("+s.app.GetFlag(flag).Model().Envar+") "+what, remedy)
}

// plain reports whether a value has no quotes or white space of a text editor or a shell.
func (s *settings) plain(flag, value string) bool {
	what, remedy := cli.Stray(value)
	if what != "" {
		s.wrong(flag, what, remedy)
	}
	return what == ""
}

func (s *settings) number(flag, value string, least, most int, want string) int {
	if !s.plain(flag, value) {
		return 0
	}
	n, err := cli.Number(value, least, most)
	if err != nil {
		s.wrong(flag, err.Error(), "set "+want)
	}
	return n
}
