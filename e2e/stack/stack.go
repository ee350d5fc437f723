// Package stack starts the whole of ghostrunner on the real dockerd, Prometheus and Alertmanager,
// with the simulated GitHub of ghostrunner-lab: the shipped Compose file with compose/demo.yaml
// over it. The demo and the end-to-end tests share it.
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

// Options configures a stack.
type Options struct {
	// Project is the Compose project: the prefix of every container, volume and network.
	Project string
	// FirstPort is the first of six consecutive ports on 127.0.0.1.
	FirstPort int
	// Bare omits the simulated GitHub of the demo.
	Bare bool
	// Files are further Compose files, relative to the repository.
	Files []string
	// Env overrides variables of the Compose files.
	Env map[string]string
	// Built: the programs exist already, and Go is not called to build them.
	Built bool
	// Shipped keeps all intervals as shipped. False: those of the demo.
	Shipped bool
	// Out receives progress messages.
	Out io.Writer
}

// Stack is a running copy of the system.
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

// Ports are the published ports on 127.0.0.1.
type Ports struct {
	Exporter, Remediator, Prometheus, Alertmanager, Lab, Grafana int
}

// variables maps the variable that sets a port to the port.
func (p *Ports) variables() map[string]*int {
	return map[string]*int{
		"EXPORTER_PORT": &p.Exporter, "REMEDIATOR_PORT": &p.Remediator, "PROMETHEUS_PORT": &p.Prometheus,
		"ALERTMANAGER_PORT": &p.Alertmanager, "LAB_PORT": &p.Lab, "GRAFANA_PORT": &p.Grafana,
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
	for name, port := range s.Ports.variables() {
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

// Up builds what is missing and starts the stack. It first removes what an earlier run left, whose
// journal would change the decisions of this run.
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
	return s.Compose(ctx, nil, "up", "--detach", "--no-build", "--pull=never", "--remove-orphans", "--quiet-pull")
}

// claim locks the project for this process until Down, because another run with the same ports
// would remove this one's containers. Each network namespace has its own lock.
func (s *Stack) claim() (err error) {
	if s.claimed != nil {
		return nil
	}
	network, _ := os.Readlink("/proc/self/ns/net") // "" if it cannot be read
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d-%s", s.opts.Project, os.Getuid(), strings.Trim(network, "net:[]")))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s.claimed, err = machine.Lock(dir, "run of "+s.opts.Project)
	return err
}

// Prepare creates the images and the configuration, and starts nothing.
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
	for name, port := range s.Ports.variables() {
		s.env[name] = strconv.Itoa(*port)
	}
	maps.Copy(s.env, s.opts.Env)
	return nil
}

// Recreate replaces the container of a Compose service; its volumes stay.
func (s *Stack) Recreate(ctx context.Context, service string) error {
	return s.Compose(ctx, nil, "up", "--detach", "--no-build", "--pull=never", "--no-deps", "--force-recreate", service)
}

// Down removes every container, volume and network of the project, and the filler images. The
// stack's own images stay, for a quick next start.
func (s *Stack) Down(ctx context.Context) error {
	err := s.remove(ctx)
	if s.claimed != nil {
		err = errors.Join(err, s.claimed.Close())
		s.claimed = nil
	}
	return err
}

func (s *Stack) remove(ctx context.Context) error {
	s.token = "" // the next stack has another one
	if s.env == nil {
		// Compose requires the variables that its files name.
		s.env = map[string]string{"GITHUB_PAT": Token, "REPO_OWNER": "acme", "REPO_NAME": "widgets", "LAB_IMAGE": "none", "LAB_PORT": "0", "COMPOSE_PROFILES": "mongo,grafana"}
		maps.Copy(s.env, s.opts.Env)
	}
	err := s.Compose(ctx, nil, "down", "--volumes", "--remove-orphans", "--timeout=20")
	return errors.Join(err, s.RemoveVictims(ctx), s.RemoveFillerImages(ctx))
}

// Compose runs a command of Docker Compose on the project; env overrides variables. The error has
// the output.
func (s *Stack) Compose(ctx context.Context, env map[string]string, args ...string) error {
	command, err := s.composeCommand(ctx)
	if err != nil {
		return err
	}
	command = append(command, "--project-name", s.opts.Project, "--progress=quiet",
		"--file", filepath.Join(s.root, "compose", "compose.yaml"),
		// The developer's own compose/.env must not be used.
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

// composeCommand is the installed Compose plugin if it is new enough, else the pinned one, built
// from source.
func (s *Stack) composeCommand(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "docker", "compose", "version", "--short").Output()
	if err == nil && newEnough(strings.TrimSpace(string(out))) {
		return []string{"docker", "compose"}, nil
	}
	path, err := s.tool(ctx, "docker-compose")
	return []string{path}, err
}

// newEnough reports whether Compose supports `!reset` and secrets from the environment with a mode
// (2.24 and later).
func newEnough(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 2 || major == 2 && minor >= 24
}

// portsFree returns an error that names the first port in use and the variable that changes it.
func (s *Stack) portsFree(ctx context.Context) error {
	ports := s.Ports.variables()
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		port := *ports[name]
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return fmt.Errorf("port %d is in use: stop the program that listens on 127.0.0.1:%d, or set %s to another port", port, port, name)
		}
		_ = l.Close()
	}
	return nil
}

// socketGroup is the group of the Docker socket.
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

// progress prints a progress message.
func (s *Stack) progress(format string, args ...any) {
	fmt.Fprintf(s.opts.Out, "  · "+format+"\n", args...)
}
