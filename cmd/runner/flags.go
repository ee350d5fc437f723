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

	github                         *cli.GitHub
	dockerUser, dockerTokenFile    string
	dockerTokenEnv                 string // DOCKERHUB_TOKEN; not a flag, and no longer in the environment
	name, labels, groupID          string
	root, uid, gid, passEnv        string
	sessionConflictWait, stateFile string
	dockerSocket                   string
	sudo                           string
	chrony, ntp                    string
	dnsFallback                    string
	timeScale                      float64
	envars                         map[string]string // flag → variable, for messages
}

// config is the checked settings.
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
	s = &settings{app: app, github: cli.GitHubFlags(app), dockerTokenEnv: cli.TakeEnv("DOCKERHUB_TOKEN"), envars: make(map[string]string)}
	app.Flag("runner.name", "Name of the slot; registrations are named NAME-SUFFIX. Default: the hostname.").Envar("RUNNER_NAME").StringVar(&s.name)
	app.Flag("runner.labels", "Labels that jobs select, separated by commas.").
		Envar("RUNNER_LABELS").Default("self-hosted,linux,x64").StringVar(&s.labels)
	app.Flag("runner.group-id", "Runner group to register in.").Envar("RUNNER_GROUP_ID").Default("1").StringVar(&s.groupID)
	app.Flag("runner.root", "Directory of the Actions runner, with bin/Runner.Listener.").Default("/actions-runner").StringVar(&s.root)
	app.Flag("runner.uid", "User of the listener and the jobs.").Default("1001").StringVar(&s.uid)
	app.Flag("runner.gid", "Group of the listener and the jobs.").Default("1001").StringVar(&s.gid)
	app.Flag("runner.pass-env", "Further variables that jobs may see, separated by commas.").StringVar(&s.passEnv)
	app.Flag("dockerhub.username", "Account at Docker Hub for docker commands of jobs; empty: none.").
		Envar("DOCKERHUB_USERNAME").StringVar(&s.dockerUser)
	app.Flag("dockerhub.token-file", "File with that account's access token, which jobs can read: it should only allow to pull. Default: the variable DOCKERHUB_TOKEN.").
		Envar("DOCKERHUB_TOKEN_FILE").StringVar(&s.dockerTokenFile)
	app.Flag("session-conflict-wait", "Seconds to wait after a session conflict before the next registration.").
		Envar("SESSION_CONFLICT_WAIT").Default("30").StringVar(&s.sessionConflictWait)
	app.Flag("state-file", "File with the state of the slot, for the health check.").Default("/run/ghostrunner/state.json").StringVar(&s.stateFile)
	app.Flag("docker.socket", "Socket of the Docker engine for jobs. If it is mounted, jobs get its group, and with it the machine.").
		Default("/var/run/docker.sock").StringVar(&s.dockerSocket)
	app.Flag("runner.sudo", "Whether jobs may become root by sudo, and can then read the token: true or false.").
		Envar("RUNNER_SUDO").Default("false").StringVar(&s.sudo)
	app.Flag("chrony.address", "Address of chronyd, the first source of time before a registration; empty: none.").
		Envar("CHRONY_ADDRESS").StringVar(&s.chrony)
	app.Flag("ntp.servers", "NTP servers, the second source of time, separated by commas; empty: none. GitHub is the third.").
		Envar("NTP_SERVERS").StringVar(&s.ntp)
	app.Flag("dns.fallback", "Name servers, separated by commas, that are added while the container's own do not resolve GitHub's names; none: none.").
		Envar("DNS_FALLBACK").Default("1.1.1.1,8.8.8.8").StringVar(&s.dnsFallback)
	cli.TimeScale(app, &s.timeScale)

	app.Command("run", "Run the slot until SIGTERM (the default).").Default()
	app.Command("preflight", "Check everything that the slot needs and print every problem with its remedy; exit 1 if there is one.")
	app.Command("healthcheck", "Check whether the slot is healthy; exit 1 if not.")

	s.command, done, err = app.Parse(args)
	for _, f := range app.Model().Flags {
		s.envars[f.Name] = f.Envar
	}
	return s, done, err
}

var (
	// slotName is what GitHub, Docker and a metric label accept. A registration adds 11 of GitHub's
	// 64 characters.
	slotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,52}$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// check turns settings into a config and returns everything that is wrong with them.
func (s *settings) check() (config, []supervisor.Problem) {
	cfg := config{
		github: s.github, root: s.root, stateFile: s.stateFile, dockerSocket: s.dockerSocket,
		chrony: s.chrony, ntpServers: cli.List(s.ntp), timeScale: s.timeScale,
	}
	c := checker{envars: s.envars}
	s.checkAccounts(&c, &cfg)
	s.checkRunner(&c, &cfg)
	s.checkJobs(&c, &cfg)
	c.plain("chrony.address", s.chrony)
	c.plain("ntp.servers", strings.ReplaceAll(s.ntp, ", ", ","))
	var err error
	if cfg.dnsFallback, err = cli.NameServers(s.dnsFallback); err != nil {
		c.wrong("dns.fallback", err.Error(), "set name servers such as 1.1.1.1,8.8.8.8, or none")
	}
	for _, path := range [][2]string{{"runner.root", s.root}, {"state-file", s.stateFile}} {
		if c.plain(path[0], path[1]) && !filepath.IsAbs(path[1]) {
			c.wrong(path[0], strconv.Quote(path[1])+" is not an absolute path", "start it with /")
		}
	}
	return cfg, c.problems
}

// checkAccounts checks the settings for GitHub and Docker Hub.
func (s *settings) checkAccounts(c *checker, cfg *config) {
	c.plain("github.api-url", s.github.APIURL)
	c.plain("github.token-file", s.github.TokenFile)
	if c.plain("github.owner", s.github.Owner) && c.plain("github.repo", s.github.Repo) {
		scope, err := s.github.Scope()
		switch {
		case s.github.Owner == "":
			c.wrong("github.owner", "is empty", "set it to the owner of the repository, or to the organization")
		case err != nil:
			c.wrong("github.owner", "and --github.repo (REPO_NAME) do not name a repository or organization: "+err.Error(), "set REPO_OWNER=octo and REPO_NAME=hello, without a slash")
		}
		cfg.scope = scope
	}
	switch {
	case s.github.TokenFile == "" && s.github.TokenEnv == "":
		c.wrong("github.token-file", "is empty", "name a file that contains the token")
	case s.github.TokenFile == "" && strings.ContainsAny(s.github.TokenEnv, " \t\r\n\"'"):
		c.add("GITHUB_PAT contains white space or quotes", "remove them; if .env has Windows line ends, convert it with dos2unix")
	}
	if c.plain("dockerhub.username", s.dockerUser) && c.plain("dockerhub.token-file", s.dockerTokenFile) {
		cfg.dockerHub = supervisor.Login{Username: s.dockerUser, Token: cli.Secret("dockerhub.token-file", s.dockerTokenFile, s.dockerTokenEnv)}
		if s.dockerUser == "" && s.dockerTokenEnv != "" || s.dockerUser != "" && s.dockerTokenEnv+s.dockerTokenFile == "" {
			c.wrong("dockerhub.username", "and the token for Docker Hub are not both set", "set DOCKERHUB_USERNAME and DOCKERHUB_TOKEN (or --dockerhub.token-file), or none")
		}
	}
}

// checkRunner checks the settings of the registration.
func (s *settings) checkRunner(c *checker, cfg *config) {
	if cfg.slot = s.name; cfg.slot == "" {
		cfg.slot, _ = os.Hostname() // an empty one is refused below
	}
	if c.plain("runner.name", cfg.slot) && !slotName.MatchString(cfg.slot) {
		c.wrong("runner.name", strconv.Quote(cfg.slot)+" is not a valid slot name", "use at most 53 letters, digits, dots, dashes and underscores, such as ci-runner-1")
	}
	if c.plain("runner.labels", strings.ReplaceAll(s.labels, ", ", ",")) {
		var err error
		if cfg.labels, err = cli.Labels(s.labels); err != nil {
			c.wrong("runner.labels", err.Error(), "separate them by commas, such as self-hosted,linux,x64")
		}
	}
	cfg.groupID = int64(c.number("runner.group-id", s.groupID, 1, 1<<53, "the number of the runner group, 1 is the default group"))
	cfg.sessionConflictWait = time.Duration(c.number("session-conflict-wait", s.sessionConflictWait, 0, 3600, "seconds, such as 30")) * time.Second
}

// checkJobs checks who jobs run as, and what they may do.
func (s *settings) checkJobs(c *checker, cfg *config) {
	cfg.user.UID = c.number("runner.uid", s.uid, 1, 1<<31, "the number of an unprivileged user, such as 1001")
	cfg.user.GID = c.number("runner.gid", s.gid, 1, 1<<31, "the number of an unprivileged group, such as 1001")
	if os.Geteuid() != 0 {
		cfg.user.UID, cfg.user.GID = os.Geteuid(), os.Getegid()
	}
	if groups, err := os.Getgroups(); err == nil {
		cfg.user.Groups = groups
	}
	if gid, ok := supervisor.DockerGroup(s.dockerSocket); ok && !slices.Contains(cfg.user.Groups, gid) {
		cfg.user.Groups = append(cfg.user.Groups, gid)
	}
	if cfg.sudo = s.sudo == "true"; !cfg.sudo && s.sudo != "" && s.sudo != "false" {
		c.wrong("runner.sudo", strconv.Quote(s.sudo)+" is neither true nor false", "set RUNNER_SUDO=false, or true if every job may do anything here")
	}
	cfg.passEnv = cli.List(s.passEnv)
	for _, name := range cfg.passEnv {
		if !envName.MatchString(name) || slices.Contains([]string{"GITHUB_PAT", "GITHUB_PAT_FILE", "DOCKERHUB_TOKEN"}, name) {
			c.wrong("runner.pass-env", strconv.Quote(name)+" cannot be passed on to jobs", "name variables without secrets, separated by commas")
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

// checker collects problems of flags and the variables behind them.
type checker struct {
	envars   map[string]string
	problems []supervisor.Problem
}

func (c *checker) add(what, remedy string) {
	c.problems = append(c.problems, supervisor.Problem{What: what, Remedy: remedy, Fatal: true})
}

// wrong adds a problem of a flag.
func (c *checker) wrong(flag, what, remedy string) {
	c.add("--"+flag+" ("+c.envars[flag]+") "+what, remedy)
}

// plain reports whether a value has no quotes or white space of a text editor or a shell.
func (c *checker) plain(flag, value string) bool {
	what, remedy := cli.Stray(value)
	if what != "" {
		c.wrong(flag, what, remedy)
	}
	return what == ""
}

func (c *checker) number(flag, value string, least, most int, want string) int {
	if !c.plain(flag, value) {
		return 0
	}
	n, err := cli.Number(value, least, most)
	if err != nil {
		c.wrong(flag, err.Error(), "set "+want)
	}
	return n
}
