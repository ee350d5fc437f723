// Package stack starts the whole of ghostrunner on the real dockerd, Prometheus and Alertmanager, in the simulated world
// of ghostrunner-lab: the same Compose file that people run, with compose/demo.yaml over it. The demo and the end-to-end
// tests share it, so that what the demo shows is what the tests assert.
//
// Everything that it creates belongs to one Compose project; Down removes exactly that.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/machine"
)

// Options say where a stack lives and how it differs from the demo.
type Options struct {
	// Project is the Compose project: the prefix of every container, volume and network.
	Project string
	// FirstPort is the first of six consecutive ports on 127.0.0.1.
	FirstPort int
	// Bare leaves the simulated world of the demo out.
	Bare bool
	// Files are further Compose files over those of the demo, relative to the repository.
	Files []string
	// Env overrides variables of the Compose files.
	Env map[string]string
	// Built says that Build has made the programs, where they cannot be looked after again.
	Built bool
	// Shipped keeps every interval as it is shipped, to measure what people get. False: the haste of the demo.
	Shipped bool
	// Out receives progress for people.
	Out io.Writer
}

// Stack is one running copy of the system.
type Stack struct {
	opts Options
	root string // the repository
	dir  string // generated configuration
	env  map[string]string
	http *http.Client

	token     string // of the webhook, once it was read
	threshold uint64 // free bytes below which this stack prunes
	claimed   io.Closer

	Ports Ports
}

// Ports are the published ports, all on 127.0.0.1.
type Ports struct {
	Exporter, Remediator, Prometheus, Alertmanager, Lab, Grafana int
}

// each lists the ports with the variable that moves them.
func (p Ports) each() map[string]int {
	return map[string]int{
		"EXPORTER_PORT": p.Exporter, "REMEDIATOR_PORT": p.Remediator, "PROMETHEUS_PORT": p.Prometheus,
		"ALERTMANAGER_PORT": p.Alertmanager, "LAB_PORT": p.Lab, "GRAFANA_PORT": p.Grafana,
	}
}

// Token is the PAT that the simulated GitHub accepts.
const Token = "github_pat_of_the_lab"

// New prepares a stack without starting anything.
func New(opts Options) (*Stack, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	s := &Stack{
		opts: opts,
		root: root,
		dir:  filepath.Join(root, ".cache", opts.Project),
		http: &http.Client{Timeout: 10 * time.Second},
		Ports: Ports{
			Exporter: opts.FirstPort, Remediator: opts.FirstPort + 1, Prometheus: opts.FirstPort + 2,
			Alertmanager: opts.FirstPort + 3, Lab: opts.FirstPort + 4, Grafana: opts.FirstPort + 5,
		},
	}
	for name, port := range map[string]*int{
		"EXPORTER_PORT": &s.Ports.Exporter, "REMEDIATOR_PORT": &s.Ports.Remediator, "PROMETHEUS_PORT": &s.Ports.Prometheus,
		"ALERTMANAGER_PORT": &s.Ports.Alertmanager, "LAB_PORT": &s.Ports.Lab, "GRAFANA_PORT": &s.Ports.Grafana,
	} {
		value := os.Getenv(name)
		if value == "" {
			continue
		}
		if *port, err = strconv.Atoi(value); err != nil || *port < 1 || *port > 65535 {
			return nil, fmt.Errorf("%s=%q: want a port number", name, value)
		}
	}
	return s, nil
}

// repository returns the module's root folder.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("run this from inside the repository: no go.mod found above the working directory")
}

// Up builds what is missing and starts the stack from nothing: what an earlier run left behind is removed first, because
// its journal remembers restarts of which this run knows nothing.
func (s *Stack) Up(ctx context.Context) error {
	if err := s.dockerAnswers(ctx); err != nil {
		return err
	}
	if err := s.claim(); err != nil {
		return err
	}
	left, err := s.Leftovers(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		s.progress("removing what an earlier run left")
		if err := s.remove(ctx); err != nil {
			return err
		}
	}
	if err := s.portsFree(ctx); err != nil {
		return err
	}
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	s.progress("starting containers")
	return s.compose(ctx, nil, "up", "--detach", "--no-build", "--pull=never", "--remove-orphans", "--quiet-pull")
}

// claim keeps the project for this process until Down: another run, which has the same ports, would take what stands for what an
// earlier one has left. A machine with a network of its own has its own.
func (s *Stack) claim() (err error) {
	if s.claimed != nil {
		return nil
	}
	network, _ := os.Readlink("/proc/self/ns/net") // "" where there is only one
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d-%s", s.opts.Project, os.Getuid(), strings.Trim(network, "net:[]")))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s.claimed, err = machine.Lock(dir, "run of "+s.opts.Project)
	return err
}

// Prepare makes the images and the configuration, and starts nothing.
func (s *Stack) Prepare(ctx context.Context) error {
	images, err := s.images(ctx)
	if err != nil {
		return err
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	if err := s.chooseThreshold(); err != nil {
		return err
	}
	s.env = map[string]string{
		"GITHUB_PAT": Token, "REPO_OWNER": "acme", "REPO_NAME": "widgets",
		"COMPOSE_PROFILES":         "mongo,grafana",
		"GITHUB_API_URL":           "http://lab:10070",
		"CONTAINER_PREFIX":         s.opts.Project + "-",
		"DOCKER_GID":               socketGroup(),
		"PROMETHEUS_CONFIG":        filepath.Join(s.dir, "prometheus", "prometheus.yml"),
		"PROMETHEUS_TARGETS_DIR":   filepath.Join(s.dir, "targets"),
		"ALERTMANAGER_CONFIG_DIR":  filepath.Join(s.dir, "alertmanager"),
		"RULES_DIR":                filepath.Join(s.dir, "rules"),
		"PRUNE_THRESHOLD_GB":       strconv.FormatFloat(float64(s.threshold)/1e9, 'f', 6, 64),
		"WATCHDOG_MAX_FIRES":       "5",
		"RUNNER_STOP_GRACE_PERIOD": "30s",
		"RUNNER_CPUS":              "1.0",
	}
	if !s.opts.Shipped {
		s.env["RUNNER_HEALTH_INTERVAL"] = "1s"
		s.env["HEALTH_INTERVAL"] = "5s"
	}
	maps.Copy(s.env, images)
	for name, port := range s.Ports.each() {
		s.env[name] = strconv.Itoa(port)
	}
	maps.Copy(s.env, s.opts.Env)
	return nil
}

// Compose runs a command of Docker Compose on the project, with other values for some variables. What Compose prints is in
// the error.
func (s *Stack) Compose(ctx context.Context, env map[string]string, args ...string) error {
	return s.compose(ctx, env, args...)
}

// Recreate replaces the container of one Compose service by a new one with the same volumes.
func (s *Stack) Recreate(ctx context.Context, service string) error {
	return s.compose(ctx, nil, "up", "--detach", "--no-build", "--pull=never", "--no-deps", "--force-recreate", service)
}

// Down removes every container, volume and network of the project, and the throw-away images of its disk fault. The
// images of the stack itself stay: they make the next start quick.
func (s *Stack) Down(ctx context.Context) error {
	err := s.remove(ctx)
	if s.claimed != nil {
		err = errors.Join(err, s.claimed.Close())
		s.claimed = nil
	}
	return err
}

func (s *Stack) remove(ctx context.Context) error {
	s.token = "" // the next one is another
	if s.env == nil {
		// Compose wants the variables that the files name, whatever their values.
		s.env = map[string]string{"GITHUB_PAT": Token, "REPO_OWNER": "acme", "REPO_NAME": "widgets", "LAB_IMAGE": "none", "LAB_PORT": "0", "COMPOSE_PROFILES": "mongo,grafana"}
		maps.Copy(s.env, s.opts.Env)
	}
	err := s.compose(ctx, nil, "down", "--volumes", "--remove-orphans", "--timeout=20")
	return errors.Join(err, s.RemoveVictims(ctx), s.RemoveBallast(ctx))
}

// compose runs Docker Compose on the project.
func (s *Stack) compose(ctx context.Context, env map[string]string, args ...string) error {
	command, err := s.composeCommand(ctx)
	if err != nil {
		return err
	}
	command = append(command, "--project-name", s.opts.Project, "--progress=quiet",
		"--file", filepath.Join(s.root, "compose", "compose.yaml"),
		// The developer's own compose/.env is for the developer's own stack.
		"--env-file", os.DevNull)
	if !s.opts.Bare {
		command = append(command, "--file", filepath.Join(s.root, "compose", "demo.yaml"))
	}
	for _, file := range s.opts.Files {
		command = append(command, "--file", filepath.Join(s.root, file))
	}
	if s.opts.Shipped {
		command = append(command, "--file", filepath.Join(s.root, "e2e", "stack", "shipped.yaml"))
	}
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], args...)...)
	cmd.Env = os.Environ()
	for _, variables := range []map[string]string{s.env, env} {
		for _, k := range slices.Sorted(maps.Keys(variables)) {
			cmd.Env = append(cmd.Env, k+"="+variables[k])
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker compose %s: %w\n%s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// composeCommand is the installed Compose plugin if it is new enough, else the pinned one built from source.
func (s *Stack) composeCommand(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "docker", "compose", "version", "--short").Output()
	if err == nil && newEnough(strings.TrimSpace(string(out))) {
		return []string{"docker", "compose"}, nil
	}
	path, err := s.tool(ctx, "docker-compose")
	return []string{path}, err
}

// newEnough reports whether Compose knows `!reset` and secrets from the environment with a mode (2.24 and later).
func newEnough(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 2 || major == 2 && minor >= 24
}

// portsFree names the first port that somebody else holds, and the variable that moves it.
func (s *Stack) portsFree(ctx context.Context) error {
	ports := s.Ports.each()
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(ports[name]))
		if err != nil {
			return fmt.Errorf("port %d is taken: stop what listens on 127.0.0.1:%d, or choose another one with %s=<port>", ports[name], ports[name], name)
		}
		_ = l.Close()
	}
	return nil
}

// socketGroup is the group that may use the Docker socket.
func socketGroup() string {
	info, err := os.Stat("/var/run/docker.sock")
	if err != nil {
		return "0"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return strconv.FormatUint(uint64(st.Gid), 10)
	}
	return "0"
}

// progress tells people what takes the time.
func (s *Stack) progress(format string, args ...any) {
	fmt.Fprintf(s.opts.Out, "  · "+format+"\n", args...)
}
