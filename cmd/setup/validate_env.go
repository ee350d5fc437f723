package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/github"
)

// setting is a variable of compose/.env.
type setting struct {
	name     string
	required bool                     // an empty value is checked too, if Compose passes one
	check    func(value string) error // what is wrong with it
	remedy   string                   // unless the error has one
}

// settings are all that are checked alone. The others need a second look: values.problems.
var settings = []setting{
	{"GITHUB_PAT", true, cli.CheckToken, ""},
	{"REPO_OWNER", true, checkOwner, "set it to the owner of the repository, such as octo, or to an organization"},
	{"GITHUB_API_URL", false, plain(checkAPIURL), "set it to https://api.github.com, or leave it empty"},
	{"GITHUB_HOST", true, plain(matches(host, "the name of a server")), "set it to the name of your GitHub server, such as github.example.com"},
	{"GITHUB_SCOPES", false, cli.CheckScopes, "separate the names by commas"},
	{"DOCKERHUB_USERNAME", true, plain(notEmpty), "set it to an account at Docker Hub, or remove dockerhub.yaml from COMPOSE_FILE"},
	{"DOCKERHUB_TOKEN", true, notEmpty, "set it to an access token of that account, or remove dockerhub.yaml from COMPOSE_FILE"},
	{"RUNNER_CPUS", false, plain(by(cli.Positive)), "set it to the number of CPUs of a runner, such as 3.0"},
	{"RUNNER_LABELS", false, plain(by(cli.Labels)), "separate the labels by commas, such as self-hosted,linux,x64"},
	{"RUNNER_GROUP_ID", false, plain(number(1, 1<<53)), "set it to the number of the runner group; 1 is the default group"},
	{"RUNNER_SUDO", false, plain(matches(`^(true|false)$`, "true or false")), ""},
	{"SESSION_CONFLICT_WAIT", false, plain(number(0, 3600)), "set it to a number of seconds, such as 30"},
	{"DNS_FALLBACK", false, plain(by(cli.NameServers)), "set it to IP addresses such as 1.1.1.1,8.8.8.8, or to none"},
	{"CHRONY_ADDRESS", false, plain(matches(host, "the name of a server")), "set it to HOST:PORT, such as chrony:323"},
	{"CLOCK_MODE", false, plain(matches(`^(step|observe)$`, "step or observe")), ""},
	{"CLOCK_DRIFT_SECONDS", false, plain(by(cli.Positive)), "set it to a number of seconds, such as 2"},
	{"NTP_SERVERS", false, plain(each(matches(host, "the name of a server"))), "set it to names or IP addresses, such as pool.ntp.org"},
	{"DISK_PATHS", false, plain(each(matches(`^/`, "an absolute path"))), "set it to absolute paths, such as /var/lib/docker"},
	{"PRUNE_THRESHOLD_GB", false, plain(by(cli.Positive)), "set it to an amount of free space in GB, such as 10"},
	{"PRUNE_KEEP", false, by(regexp.Compile), "set it to a regular expression, such as ^(node|mongo):"},
	{"WATCHDOG_MAX_FIRES", false, plain(by(cli.Positive)), "set it to a number of restarts an hour, such as 5"},
	{"REMEDIATION_WINDOW", false, by(cli.ParseWindow), "set it to hours such as Mon-Fri 22:00-06:00 Europe/Berlin, or leave it empty"},
	{"REMEDIATION_DRY_RUN", false, plain(by(strconv.ParseBool)), "set it to true or false"},
}

// values are what compose/.env says. A variable that Compose does not pass is not in the map.
type values map[string]string

// readValues reads the environment, and the GitHub token from the file that Compose copies.
func readValues(githubPAT string) (values, error) {
	v := values{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		v[name] = value
	}
	pat, err := os.ReadFile(githubPAT)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // Compose copies no empty one
		return nil, fmt.Errorf("read GITHUB_PAT: %w", err)
	}
	v["GITHUB_PAT"] = strings.TrimSpace(string(pat))
	return v, nil
}

// problems returns a line for everything that is wrong. It shows nothing of a secret.
func (v values) problems(socket string) []string {
	var lines []string
	add := func(name string, err error, remedy string) {
		if err != nil {
			lines = append(lines, strings.TrimSuffix(name+": "+cli.OneLine(err.Error())+"; "+remedy, "; "))
		}
	}
	for _, s := range settings {
		if value, given := v[s.name]; value != "" || given && s.required {
			add(s.name, s.check(value), s.remedy)
		}
	}
	add("REPO_NAME", checkRepo(v["REPO_OWNER"], v["REPO_NAME"]), "set it to the repository, such as hello, or leave it empty for all of REPO_OWNER")
	add("DOCKER_GID", checkDockerGID(v["DOCKER_GID"], socket), "")
	return lines
}

func checkOwner(value string) error {
	if err := checkName(strings.TrimPrefix(value, "enterprises/")); err != nil {
		return err
	}
	if _, err := github.ParseScope(value); err != nil {
		return fmt.Errorf("%q is not a name that GitHub allows", value)
	}
	return nil
}

func checkRepo(owner, repo string) error {
	if repo == "" {
		return nil
	}
	if err := checkName(repo); err != nil {
		return err
	}
	if strings.HasPrefix(owner, "enterprises/") {
		return fmt.Errorf("%q is a repository, but REPO_OWNER is an enterprise", repo)
	}
	if _, err := github.ParseScope("octo/" + repo); err != nil || strings.HasSuffix(repo, ".git") {
		return fmt.Errorf("%q is not a name that GitHub allows", repo)
	}
	return nil
}

// placeholders stand for a name in examples. Words that can be real names are not among them.
var placeholders = regexp.MustCompile(`(?i)^(change-?me|replace-?me|placeholder|todo|xxx+|` +
	`repo[-_](owner|name)|your-(org|organi[sz]ation|owner|name|user|username|account|repo|repository|` +
	`github-.*|repo-name|org-name))$`)

// checkName refuses what is not one name at GitHub.
func checkName(value string) error {
	return plain(func(value string) error {
		switch {
		case strings.ContainsAny(value, "{}*") || strings.Contains(value, "...") || placeholders.MatchString(value):
			return fmt.Errorf("%q is a placeholder", value)
		case strings.ContainsAny(value, "/:@"):
			return fmt.Errorf("%q is more than one name", value)
		default:
			return notEmpty(value)
		}
	})(value)
}

// checkDockerGID compares the group that the proxies get with the group of Docker's socket, as a
// container sees it: with Docker Desktop the host sees another one. The socket is not opened.
func checkDockerGID(value, socket string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(socket, &st); err != nil {
		return fmt.Errorf("the group of the Docker socket is unknown: stat %s: %w", socket, err)
	}
	const forGroup, forAll = 0o060, 0o006
	gid, err := strconv.ParseUint(value, 10, 32)
	switch right := fmt.Sprintf("set DOCKER_GID=%d", st.Gid); {
	case err != nil:
		return fmt.Errorf("%q is not the number of a group; %s", value, right)
	case st.Mode&forAll == forAll:
		return nil
	case st.Mode&forGroup != forGroup:
		return errors.New("the Docker socket is closed to its group; chmod g+rw, and " + right)
	case uint32(gid) != st.Gid:
		return fmt.Errorf("the Docker socket belongs to group %d and not to %d; %s", st.Gid, gid, right)
	default:
		return nil
	}
}

// plain refuses what an editor, a shell or an example adds to a value, and then checks it. A list
// may have a space after each comma.
func plain(check func(string) error) func(string) error {
	return func(value string) error {
		if what, remedy := cli.Stray(strings.ReplaceAll(value, ", ", ",")); what != "" {
			return errors.New("the value " + what + ": " + remedy)
		}
		if strings.ContainsAny(value, "<>$") {
			return fmt.Errorf("%q holds a placeholder or an unset variable", value)
		}
		return check(value)
	}
}

// by makes a check of a parser.
func by[T any](parse func(string) (T, error)) func(string) error {
	return func(value string) error { _, err := parse(value); return err }
}

func number(least, most int) func(string) error {
	return by(func(value string) (int, error) { return cli.Number(value, least, most) })
}

func matches(pattern, what string) func(string) error {
	return func(value string) error {
		if !regexp.MustCompile(pattern).MatchString(value) {
			return fmt.Errorf("%q is not %s", value, what)
		}
		return nil
	}
}

// each checks every item of a list.
func each(check func(string) error) func(string) error {
	return func(value string) error {
		for _, item := range cli.List(value) {
			if err := check(item); err != nil {
				return err
			}
		}
		return nil
	}
}

func notEmpty(value string) error {
	if value == "" {
		return errors.New("is empty")
	}
	return nil
}

func checkAPIURL(value string) error {
	_, err := github.New(github.Options{APIURL: value, Token: func() (string, error) { return "", nil }})
	return err
}

// host is a name or an IP address.
const host = `^[A-Za-z0-9:]([A-Za-z0-9.:-]*[A-Za-z0-9])?$`
