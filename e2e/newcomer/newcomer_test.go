// Package newcomer_test is a person with a clean clone and the documents.
package newcomer_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// A newcomer has a clean clone and the documents. This test is one: it types what they say, page by
// page and line by line, and every line must succeed. Nothing stands here that a page does not say
// but the four values, and what a machine without a registry, GitHub and systemd lacks.

// A line that is not typed as it stands.
type otherwise struct {
	instead string // "": not at all
	because string
}

var otherwises = map[string]otherwise{
	"docker compose exec -T remediator /ghostrunner explain < payload.json": {`echo '{"version": "4", "alerts": []}' | docker compose exec -T remediator /ghostrunner explain`, "a newcomer has no payload yet"},
	"docker compose exec runner-1 ghostrunner-runner preflight":             {"docker compose exec runner-1 ghostrunner-runner preflight || [ $? = 1 ]", "the stand-in of the runner's image holds no git, of which it complains"},
	"git pull && docker compose up -d --build --remove-orphans":             {"git pull && docker compose up -d --no-build --remove-orphans", "the images are made by this test: builds pull their base images"},
	"docker compose up -d":                                     {"docker compose up -d --no-build", "as above"},
	"docker compose down --volumes --rmi all":                  {"docker compose down --volumes", "the images are those of the other tests"},
	"docker compose exec chrony chronyc -n tracking":           {"", "there is no chronyd in the simulated world; internal/clock asks a real one"},
	"docker compose exec runner-1 getent hosts api.github.com": {"", "the stand-in of the runner's image holds nothing but our program; compose/runner_test.go builds the real one"},
	"getent hosts api.github.com":                              {"getent hosts localhost", "tests reach no internet"},
	"docker compose exec alertmanager amtool --alertmanager.url=http://localhost:9093 alert query -o extended": {"", "the stand-in of Alertmanager's image holds no amtool"},
	"docker compose exec alertmanager amtool --alertmanager.url=http://localhost:9093 alert query --inhibited": {"", "as above"},

	"docker compose exec grafana cat /run/ghostrunner/grafana-password": {"", "the stand-in of Grafana's image holds no cat"},

	"apt-get install chrony": {"", "changes the machine; .ci/run does it"},
	"sudo useradd --system --groups docker --shell /usr/sbin/nologin ghostrunner": {"", "makes a user of the machine"},
	"sudo systemctl daemon-reload":                                            {"", "needs systemd; TestSystemdUnitsStart starts the programs with what the units say"},
	"sudo systemctl enable --now ghostrunner-exporter ghostrunner-remediator": {"", "as above"},
	"docker compose exec prometheus promtool query instant http://localhost:9090 ghostrunner_github_rate_limit_remaining":                          {"", "the stand-in of Prometheus' image holds no promtool"},
	"docker compose exec prometheus promtool query instant http://localhost:9090 'ghostrunner_github_rate_limit_reset_timestamp_seconds - time()'": {"", "as above"},
	"docker compose exec prometheus promtool query instant http://localhost:9090 'time() - ghostrunner_remediator_heartbeat_timestamp_seconds'":    {"", "as above"},
}

// measured is what takes minutes of a quiet machine, is this test, or is what runs it. That it
// exists is looked at.
func measured(line string) (instead string, ok bool) {
	words := strings.Fields(line)
	switch {
	case words[0] == "make" && len(words) > 1 && words[1] != "build":
		return "make -n " + words[1], true
	case words[0] == "go" && len(words) > 1 && (words[1] == "test" || words[1] == "run"):
		for _, word := range words[2:] {
			if strings.HasPrefix(word, "./") {
				return "go list -test " + word, true
			}
		}
	}
	return "", false
}

// typed are the pages whose lines are typed, in this order. The first one is read from an empty
// machine to an empty machine.
var typed = []string{
	"README.md", "docs/scaling.md", "INCIDENTS.md", "docs/notifications.md", "docs/wsl2.md", "docs/other-images.md", "docs/figures.md", "docs/proof.md", "docs/faq.md",
	"docs/without-compose.md", "docs/decisions.md", "docs/comparison.md", "docs/threat-model.md", "docs/metrics.md", "docs/alerts.md", "docs/flags.md",
	"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md",
}

func TestNewcomer(t *testing.T) {
	n := newcomer(t)
	seen := map[string]bool{}
	for _, page := range typed {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(n.clone, page))
			if err != nil {
				t.Fatal(err)
			}
			n.dir = filepath.Join(n.clone, "compose")
			if page == "README.md" || page == "CONTRIBUTING.md" || page == "docs/without-compose.md" {
				n.dir = n.clone
			}
			if page == "docs/scaling.md" {
				n.set(t, "COMPOSE_PROFILES", setting(t, string(text), "COMPOSE_PROFILES")) // its page says so before its commands
			}
			for _, line := range commandLines(string(text), page != "INCIDENTS.md") {
				seen[line] = true
				n.do(t, line)
			}
		})
	}
	for line, o := range otherwises {
		if !seen[line] {
			t.Errorf("no page says %q any more (%s)", line, o.because)
		}
	}
	// The commands of a page that is missing here are not tested.
	pages, err := exec.CommandContext(t.Context(), "git", "-C", n.clone, "ls-files", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	for page := range strings.FieldsSeq(string(pages)) {
		text, err := os.ReadFile(filepath.Join(n.clone, page))
		if err != nil {
			t.Fatal(err)
		}
		if lines := commandLines(string(text), true); !slices.Contains(typed, page) && len(lines) > 0 {
			t.Errorf("%s says %q: add it to the pages that are typed", page, lines[0])
		}
	}
}

var (
	shBlock = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```$")
	block   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inline  = regexp.MustCompile("`([^`\n]+)`")
	starts  = regexp.MustCompile(`^(?:docker compose|make|go|git|curl|stat|apt-get|sudo|amtool|promtool) \S`)
	// What only names a command: without its arguments, or as one that is not to be used.
	named = []string{"docker compose down", "docker compose stop", "docker compose up --scale", "promtool test rules"}
)

// commandLines are the lines of the shell blocks of a page and, if wanted, its commands between
// backticks, in their order.
func commandLines(text string, inText bool) []string {
	var all []string
	add := func(text string) {
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			if inText && starts.MatchString(m[1]) && !slices.Contains(named, m[1]) {
				all = append(all, m[1])
			}
		}
	}
	end := 0
	for _, at := range block.FindAllStringIndex(text, -1) {
		if !strings.HasPrefix(strings.TrimSpace(text[at[0]:at[1]]), "```sh\n") {
			continue
		}
		add(block.ReplaceAllString(text[end:at[0]], ""))
		end = at[1]
		for line := range strings.Lines(shBlock.FindStringSubmatch(text[at[0]:at[1]])[1]) {
			command, _, _ := strings.Cut(strings.TrimSpace(line), " # ")
			if command = strings.TrimSpace(command); command != "" && !strings.HasPrefix(command, "#") {
				all = append(all, command)
			}
		}
	}
	add(block.ReplaceAllString(text[end:], ""))
	return all
}

// person is somebody at a shell.
type person struct {
	stack      *stack.Stack
	clone, dir string
	env        []string
	sudoRoot   string
}

func newcomer(t *testing.T) *person {
	t.Helper()
	s, err := stack.New(stack.Options{Project: "ghostrunner-newcomer", FirstPort: 22068, Out: os.Stdout})
	if err != nil {
		t.Fatal(err)
	}
	// Not those that the environment may have chosen for the stack that the other tests share.
	s.Ports = stack.Ports{Exporter: 22068, Remediator: 22069, Prometheus: 22070, Alertmanager: 22071, Lab: 22072, Grafana: 22073}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := s.Down(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
		defer cancel()
		if t.Failed() {
			s.Diagnose(ctx, os.Stderr)
		}
		if err := s.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	n := &person{stack: s, clone: clone(t), sudoRoot: t.TempDir()}
	standIns, err := s.Stand(ctx, n.clone)
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := s.Plugin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	plugins := filepath.Join(home, "docker", "cli-plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plugin, filepath.Join(plugins, "docker-compose")); err != nil {
		t.Fatal(err)
	}
	// sudo that writes below a folder of its own.
	write(filepath.Join(home, "bin", "sudo"), `#!/bin/sh
n=$#
while [ "$n" -gt 0 ]; do
  a=$1; shift; n=$((n - 1))
  case $a in
    /usr/local/*|/etc/*) a="$SUDO_ROOT$a" ;;
  esac
  set -- "$@" "$a"
done
exec "$@"
`, 0o755)
	for _, dir := range []string{"usr/local/bin", "etc/systemd/system"} {
		if err := os.MkdirAll(filepath.Join(n.sudoRoot, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.env = slices.Concat(os.Environ(), standIns, []string{
		"DOCKER_CONFIG=" + filepath.Join(home, "docker"), "SUDO_ROOT=" + n.sudoRoot,
		"GIT_AUTHOR_NAME=n", "GIT_AUTHOR_EMAIL=n@example.org", "GIT_COMMITTER_NAME=n", "GIT_COMMITTER_EMAIL=n@example.org",
		"PATH=" + strings.Join([]string{filepath.Join(home, "bin"), filepath.Join(n.sudoRoot, "usr/local/bin"), filepath.Dir(plugin), os.Getenv("PATH")}, ":"),
	})
	return n
}

// clone makes a repository of this tree, as it is, and clones it.
func clone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	origin, to := filepath.Join(dir, "origin"), filepath.Join(dir, "ghostrunner")
	script := `set -e
mkdir -p "$1"
git -C ../.. ls-files -z --cached --others --exclude-standard . | (cd ../.. && xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' x | tar -cf - --null -T -) | tar -xf - -C "$1"
cd "$1"
git init -q -b main
git add -A
git -c user.name=n -c user.email=n@example.org commit -q -m all
git clone -q "$1" "$2"`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", origin, to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return to
}

// do types one line. What asks whether all is well is asked again for a while, as a person would.
func (n *person) do(t *testing.T, line string) {
	t.Helper()
	command := line
	if o, ok := otherwises[line]; ok {
		if o.instead == "" {
			t.Logf("not typed: %s (%s)", line, o.because)
			return
		}
		command = o.instead
	}
	if instead, ok := measured(line); ok {
		command = instead
	}
	if dir, ok := strings.CutPrefix(command, "cd "); ok {
		n.dir = filepath.Join(n.dir, dir)
		return
	}
	for name, port := range map[int]int{
		10068: n.stack.Ports.Exporter, 10069: n.stack.Ports.Remediator, 9090: n.stack.Ports.Prometheus, 9093: n.stack.Ports.Alertmanager,
	} {
		if strings.HasPrefix(command, "curl ") {
			command = strings.ReplaceAll(command, "localhost:"+strconv.Itoa(name), "localhost:"+strconv.Itoa(port))
		}
	}
	if line == "docker compose rm --stop --force runner-3" {
		n.set(t, "COMPOSE_PROFILES", "mongo,grafana") // as its page says before
	}
	patience := 2 * time.Minute
	if strings.HasPrefix(command, "make ") || strings.HasPrefix(command, "go ") {
		patience = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	for {
		out, err := n.shell(ctx, command)
		if err == nil {
			t.Logf("%6.1fs %s", time.Since(began).Seconds(), command)
			break
		}
		if ctx.Err() != nil || !asks.MatchString(command) {
			t.Fatalf("%s\n%v\n%s", command, err, out)
		}
		time.Sleep(time.Second) // and look again
	}
	switch line {
	case "cp .env.example .env":
		n.fillIn(t)
	case "docker compose exec runner-3 ghostrunner-runner healthcheck":
		n.third(t)
	case "docker compose rm --stop --force runner-3":
		n.gone(t, "runner-3")
	}
}

// asks are the commands that tell by their exit code whether all is well.
var asks = regexp.MustCompile(`/ghostrunner check|runner (preflight|healthcheck)|^curl |/ghostrunner (history|breakers|pause|resume|incident)`)

func (n *person) shell(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env = n.dir, n.env
	if strings.HasPrefix(command, "make ") || strings.HasPrefix(command, "go ") {
		cmd.Dir = n.clone // where else
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// fillIn writes the four values.
func (n *person) fillIn(t *testing.T) {
	t.Helper()
	gid, err := n.shell(t.Context(), "stat -c %g /var/run/docker.sock")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"GITHUB_PAT": stack.Token, "REPO_OWNER": "acme", "REPO_NAME": "widgets", "DOCKER_GID": strings.TrimSpace(gid),
	} {
		n.set(t, name, value)
	}
}

// set writes one value into .env, in the line that is there for it.
func (n *person) set(t *testing.T, name, value string) {
	t.Helper()
	file := filepath.Join(n.clone, "compose", ".env")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^` + name + `=.*$`)
	if !line.Match(text) {
		t.Fatalf(".env.example has no %s to fill in", name)
	}
	if err := os.WriteFile(file, line.ReplaceAllLiteral(text, []byte(name+"="+value)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// setting is what a page says that a variable should be.
func setting(t *testing.T, page, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?m)^```ini\n" + name + "=(.*)\n```$").FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("the page shows no %s", name)
	}
	return m[1]
}

// third wants the third runner to be one: it registers under its own name, takes a job, and is
// watched like the others.
func (n *person) third(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	github := lab.NewClient("http://127.0.0.1:" + strconv.Itoa(n.stack.Ports.Lab))
	job, err := github.Enqueue(ctx, lab.JobRequest{Name: "third", Runner: "ci-runner-3", Duration: "0s"})
	if err != nil {
		t.Fatal(err)
	}
	if err := stack.Await(ctx, "the job of the third runner to be over", func(ctx context.Context) (bool, error) {
		st, err := github.State(ctx)
		return slices.ContainsFunc(st.Completed, func(j lab.Job) bool { return j.ID == job.ID && j.Result == "Succeeded" }), err
	}); err != nil {
		t.Fatal(err)
	}
	for _, metric := range []string{"ghostrunner_runner_online", "ghostrunner_runner_jobs_completed_total"} {
		if err := stack.Await(ctx, metric+" of the third runner", func(ctx context.Context) (bool, error) {
			value, _, err := n.stack.Metric(ctx, n.stack.Ports.Exporter, metric, map[string]string{"runner": "ci-runner-3"})
			return value >= 1, err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// gone wants nothing of a slot to be left: no container, no registration.
func (n *person) gone(t *testing.T, service string) {
	t.Helper()
	if left, err := n.stack.ServiceContainer(t.Context(), service); err == nil {
		t.Errorf("%s is left", left)
	}
	st, err := lab.NewClient("http://127.0.0.1:" + strconv.Itoa(n.stack.Ports.Lab)).State(t.Context())
	if err != nil || slices.ContainsFunc(st.Registrations, func(r lab.RegistrationState) bool { return strings.HasPrefix(r.Name, "ci-"+service) }) {
		t.Errorf("GitHub still knows %s (%v)", service, err)
	}
}
