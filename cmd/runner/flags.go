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

// settings is what the command line and the environment say, as text: preflight wants to name all that is wrong at once, and a flag parser
// stops at the first.
type settings struct {
	command string
	app     *cli.App

	github                         *cli.GitHub
	dockerUser, dockerTokenFile    string
	dockerTokenEnv                 string // DOCKERHUB_TOKEN; not a flag, and no longer in the environment
	name, labels, groupID          string
	root, uid, gid, passEnv        string
	sessionConflictWait, stateFile string
	procfs                         string
	dockerSocket                   string
	sudo, sudoers                  string
	chrony, ntp                    string
	dnsFallback, resolvConf        string
	timeScale                      float64
	envars                         map[string]string // flag → variable, for messages
}

// config is what settings mean.
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
	sudoers             string
	chrony              string
	ntpServers          []string
	names               []string
	dnsFallback         []netip.Addr
	resolvConf          string
	timeScale           float64
	procfs              string
}

// minFree is the least free space for a job that preflight accepts, in bytes; below it the alert rules call the disk critical.
const minFree = 2e9

// parse reads args and the environment. done says that everything is done already: help or version was asked for.
func parse(args []string, stdout io.Writer) (s *settings, done bool, err error) {
	app := cli.New(program, "Keeps one self-hosted GitHub Actions runner slot alive; PID 1 of a runner container.", stdout)
	s = &settings{app: app, github: cli.GitHubFlags(app), dockerTokenEnv: cli.TakeEnv("DOCKERHUB_TOKEN"), envars: make(map[string]string)}
	app.Flag("runner.name", "Name of the slot; registrations are named NAME-SUFFIX. Without it the name of this host, which Compose gives to the container.").Envar("RUNNER_NAME").StringVar(&s.name)
	app.Flag("runner.labels", "Labels that jobs select, separated by commas.").
		Envar("RUNNER_LABELS").Default("self-hosted,linux,x64").StringVar(&s.labels)
	app.Flag("runner.group-id", "Runner group to register in.").Envar("RUNNER_GROUP_ID").Default("1").StringVar(&s.groupID)
	app.Flag("runner.root", "Directory of the Actions runner, with bin/Runner.Listener.").Default("/actions-runner").StringVar(&s.root)
	app.Flag("runner.uid", "User that the listener and the jobs run as.").Default("1001").StringVar(&s.uid)
	app.Flag("runner.gid", "Group that the listener and the jobs run as.").Default("1001").StringVar(&s.gid)
	app.Flag("runner.pass-env", "Further variables that jobs may see, separated by commas.").StringVar(&s.passEnv)
	app.Flag("dockerhub.username", "Account at Docker Hub that jobs are logged in with; empty: none.").
		Envar("DOCKERHUB_USERNAME").StringVar(&s.dockerUser)
	app.Flag("dockerhub.token-file", "File with that account's access token, which jobs can read: let it only pull. Without it DOCKERHUB_TOKEN is taken from the environment.").
		Envar("DOCKERHUB_TOKEN_FILE").StringVar(&s.dockerTokenFile)
	app.Flag("session-conflict-wait", "Seconds to wait when GitHub still holds a session of this runner.").
		Envar("SESSION_CONFLICT_WAIT").Default("30").StringVar(&s.sessionConflictWait)
	app.Flag("state-file", "Where the state of the slot is written for the health check.").Default("/run/ghostrunner/state.json").StringVar(&s.stateFile)
	app.Flag("path.procfs", "Where the processes of this container, and of no other, are seen.").Hidden().Default("/proc").StringVar(&s.procfs)
	app.Flag("docker.socket", "Socket of the Docker engine for jobs. If it is mounted, jobs get its group, and with it the machine.").
		Default("/var/run/docker.sock").StringVar(&s.dockerSocket)
	app.Flag("runner.sudo", "Whether jobs may become root by sudo, and then read the token: true or false.").
		Envar("RUNNER_SUDO").Default("false").StringVar(&s.sudo)
	app.Flag("path.sudoers", "The file among sudo's that says so.").Hidden().Default("/etc/sudoers.d/ghostrunner-runner").StringVar(&s.sudoers)
	app.Flag("chrony.address", "Where chronyd is asked for the time before each registration; empty: nowhere.").
		Envar("CHRONY_ADDRESS").StringVar(&s.chrony)
	app.Flag("ntp.servers", "NTP servers to ask where chronyd does not know, separated by commas; empty: none. GitHub is asked last.").
		Envar("NTP_SERVERS").StringVar(&s.ntp)
	app.Flag("dns.fallback", "Name servers, separated by commas, that are added while the container's own do not give GitHub's names; none: none.").
		Envar("DNS_FALLBACK").Default("1.1.1.1,8.8.8.8").StringVar(&s.dnsFallback)
	app.Flag("path.resolv-conf", "The file that names the name servers.").Hidden().Default("/etc/resolv.conf").StringVar(&s.resolvConf)
	app.Flag("time-scale", "Factor on everything that is waited for; for the demo and the tests.").Hidden().Default("1").Float64Var(&s.timeScale)

	app.Command("run", "Run the slot until SIGTERM (the default).").Default()
	app.Command("preflight", "Check everything that the slot needs, and say for each problem what to do; exit 1 if there is one.")
	app.Command("healthcheck", "Tell whether the slot is healthy, by exit code and one line.")

	s.command, done, err = app.Parse(args)
	for _, f := range app.Model().Flags {
		s.envars[f.Name] = f.Envar
	}
	return s, done, err
}

var (
	// slotName is what GitHub, Docker and a metric label all accept. The suffix of a registration needs 11 of GitHub's 64 characters.
	slotName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,52}$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// check turns settings into a config and returns everything that is wrong with them.
func (s *settings) check() (config, []supervisor.Problem) {
	if s.name == "" {
		s.name, _ = os.Hostname() // one that is empty is no name of a slot
	}
	cfg := config{
		github: s.github, slot: s.name, root: s.root, stateFile: s.stateFile, dockerSocket: s.dockerSocket,
		sudoers: s.sudoers, chrony: s.chrony, ntpServers: cli.List(s.ntp), resolvConf: s.resolvConf, timeScale: s.timeScale,
		procfs: s.procfs,
	}
	c := checker{envars: s.envars}
	c.sane("github.api-url", s.github.APIURL)
	c.sane("github.token-file", s.github.TokenFile)

	if c.sane("github.owner", s.github.Owner) && c.sane("github.repo", s.github.Repo) {
		scope, err := s.github.Scope()
		switch {
		case s.github.Owner == "":
			c.bad("github.owner", "is empty", "set it to the owner of the repository, or to the organisation")
		case err != nil:
			c.bad("github.owner", "and --github.repo (REPO_NAME) do not name a repository or organisation: "+err.Error(), "set REPO_OWNER=octo and REPO_NAME=hello, without a slash")
		}
		cfg.scope = scope
	}
	switch {
	case s.github.TokenFile == "" && s.github.TokenEnv == "":
		c.bad("github.token-file", "is empty", "name a file that contains the token")
	case s.github.TokenFile == "" && strings.ContainsAny(s.github.TokenEnv, " \t\r\n\"'"):
		c.add("GITHUB_PAT contains white space or quotes", "remove them; if .env has Windows line ends, convert it with dos2unix")
	}
	if c.sane("dockerhub.username", s.dockerUser) && c.sane("dockerhub.token-file", s.dockerTokenFile) {
		cfg.dockerHub = supervisor.Login{Username: s.dockerUser, Token: cli.Secret("dockerhub.token-file", s.dockerTokenFile, s.dockerTokenEnv)}
		if s.dockerUser == "" && s.dockerTokenEnv != "" || s.dockerUser != "" && s.dockerTokenEnv+s.dockerTokenFile == "" {
			c.bad("dockerhub.username", "and the token for Docker Hub are not both set", "set DOCKERHUB_USERNAME and DOCKERHUB_TOKEN (or --dockerhub.token-file), or none")
		}
	}
	if c.sane("runner.name", s.name) && !slotName.MatchString(s.name) {
		c.bad("runner.name", strconv.Quote(s.name)+" is no name of a slot", "use at most 53 letters, digits, dots, dashes and underscores, such as ci-runner-1")
	}
	if c.sane("runner.labels", strings.ReplaceAll(s.labels, ", ", ",")) {
		var err error
		if cfg.labels, err = cli.Labels(s.labels); err != nil {
			c.bad("runner.labels", err.Error(), "separate them by commas, such as self-hosted,linux,x64")
		}
	}
	cfg.groupID = int64(c.number("runner.group-id", s.groupID, 1, 1<<53, "the number of the runner group, 1 is the default group"))
	cfg.user.UID = c.number("runner.uid", s.uid, 1, 1<<31, "the number of an unprivileged user, such as 1001")
	cfg.user.GID = c.number("runner.gid", s.gid, 1, 1<<31, "the number of an unprivileged group, such as 1001")
	cfg.sessionConflictWait = time.Duration(c.number("session-conflict-wait", s.sessionConflictWait, 0, 3600, "seconds, such as 30")) * time.Second
	if os.Geteuid() != 0 {
		cfg.user.UID, cfg.user.GID = os.Geteuid(), os.Getegid()
	}
	if groups, err := os.Getgroups(); err == nil {
		cfg.user.Groups = groups
	}
	if gid, ok := supervisor.DockerGroup(s.dockerSocket); ok && !slices.Contains(cfg.user.Groups, gid) {
		cfg.user.Groups = append(cfg.user.Groups, gid)
	}
	switch s.sudo {
	case "", "false":
	case "true":
		cfg.sudo = true
	default:
		c.bad("runner.sudo", strconv.Quote(s.sudo)+" is neither true nor false", "set RUNNER_SUDO=false, or true if every job may do anything here")
	}
	c.sane("chrony.address", s.chrony)
	c.sane("ntp.servers", strings.ReplaceAll(s.ntp, ", ", ","))
	var err error
	if cfg.dnsFallback, err = cli.NameServers(s.dnsFallback); err != nil {
		c.bad("dns.fallback", err.Error(), "set name servers such as 1.1.1.1,8.8.8.8, or none")
	}
	if !(s.timeScale > 0 && s.timeScale <= 1) {
		c.bad("time-scale", "is not a number above 0, at most 1", "leave it out")
	}
	cfg.names = githubNames(s.github.APIURL)
	cfg.passEnv = cli.List(s.passEnv)
	for _, name := range cfg.passEnv {
		if !envName.MatchString(name) || slices.Contains([]string{"GITHUB_PAT", "GITHUB_PAT_FILE", "DOCKERHUB_TOKEN"}, name) {
			c.bad("runner.pass-env", strconv.Quote(name)+" cannot be passed on to jobs", "name variables without secrets, separated by commas")
		}
	}
	for _, path := range [][2]string{{"runner.root", s.root}, {"state-file", s.stateFile}} {
		if c.sane(path[0], path[1]) && !filepath.IsAbs(path[1]) {
			c.bad(path[0], strconv.Quote(path[1])+" is not an absolute path", "begin it with /")
		}
	}
	return cfg, c.problems
}

// githubNames are the names that must be known before a registration is made: the API's, and, with GitHub itself, one of what
// listeners talk to. Behind a proxy, which resolves names itself, there are none.
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

// checker collects problems with flags and the variables behind them.
type checker struct {
	envars   map[string]string
	problems []supervisor.Problem
}

func (c *checker) add(what, remedy string) {
	c.problems = append(c.problems, supervisor.Problem{What: what, Remedy: remedy, Fatal: true})
}

// bad says what is wrong with a flag.
func (c *checker) bad(flag, what, remedy string) {
	c.add("--"+flag+" ("+c.envars[flag]+") "+what, remedy)
}

// sane reports what a text editor or a shell has added to a value.
func (c *checker) sane(flag, value string) bool {
	what, remedy := cli.Stray(value)
	if what != "" {
		c.bad(flag, what, remedy)
	}
	return what == ""
}

func (c *checker) number(flag, value string, least, most int, want string) int {
	if !c.sane(flag, value) {
		return 0
	}
	n, err := cli.Number(value, least, most)
	if err != nil {
		c.bad(flag, err.Error(), "set "+want)
	}
	return n
}
