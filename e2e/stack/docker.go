package stack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

func docker(ctx context.Context, args ...string) (string, error) {
	return command(ctx, "", "docker", args...)
}

// Docker runs the docker command and returns its trimmed standard output.
func (s *Stack) Docker(ctx context.Context, args ...string) (string, error) {
	return docker(ctx, args...)
}

// DockerOutput runs the docker command and returns all output, also if it fails.
func (s *Stack) DockerOutput(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	return string(out), err
}

// dockerAnswers returns a one-line error with the remedy if Docker cannot be used.
func (s *Stack) dockerAnswers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("the docker command is missing: install Docker Engine and its command line")
	}
	if _, err := docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("the Docker daemon does not answer: start it, and make sure that you may use its socket (%w)", err)
	}
	return nil
}

// Containers lists the names of the project's containers, running or not.
func (s *Stack) Containers(ctx context.Context) ([]string, error) {
	out, err := docker(ctx, "ps", "--all", "--filter", "label=com.docker.compose.project="+s.opts.Project, "--format", "{{.Names}}")
	return strings.Fields(out), err
}

// Container is the container name of a slot or service.
func (s *Stack) Container(slot string) string { return s.opts.Project + "-" + slot }

// ServiceContainer finds the container of a Compose service.
func (s *Stack) ServiceContainer(ctx context.Context, service string) (string, error) {
	name, err := docker(ctx, "ps", "--all", "--filter", "label=com.docker.compose.project="+s.opts.Project,
		"--filter", "label=com.docker.compose.service="+service, "--format", "{{.Names}}")
	if err == nil && name == "" {
		err = fmt.Errorf("no container of service %s", service)
	}
	return name, err
}

// Log is the output of a Compose service's container.
func (s *Stack) Log(ctx context.Context, service string) (string, error) {
	container, err := s.ServiceContainer(ctx, service)
	if err != nil {
		return "", err
	}
	return s.DockerOutput(ctx, "logs", container)
}

// Event is a message of Docker's event stream.
type Event struct {
	Action    string
	Container string
	At        time.Time
}

// Events follows the project's container events until ctx ends, then closes the channel.
func (s *Stack) Events(ctx context.Context) (<-chan Event, error) {
	cmd := exec.CommandContext(ctx, "docker", "events", "--filter", "type=container",
		"--filter", "label=com.docker.compose.project="+s.opts.Project, "--format", "{{json .}}")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	events := make(chan Event, 4096)
	go func() {
		defer close(events)
		defer cmd.Wait() //nolint:errcheck // ended by ctx
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var raw struct {
				Action   string
				TimeNano int64 `json:"timeNano"`
				Actor    struct{ Attributes map[string]string }
			}
			if json.Unmarshal(lines.Bytes(), &raw) != nil || strings.HasPrefix(raw.Action, "exec_") {
				continue
			}
			select {
			case events <- Event{raw.Action, raw.Actor.Attributes["name"], time.Unix(0, raw.TimeNano)}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

// AwaitEvent waits for the next such event of a container.
func AwaitEvent(ctx context.Context, events <-chan Event, container, action string) (Event, error) {
	for {
		select {
		case e, open := <-events:
			switch {
			case !open:
				return Event{}, errors.New("the event stream of Docker ended")
			case e.Container == container && e.Action == action:
				return e, nil
			}
		case <-ctx.Done():
			return Event{}, fmt.Errorf("waiting for %q of %s: %w", action, container, ctx.Err())
		}
	}
}

// Leftovers lists containers, volumes, networks and filler images of the project.
func (s *Stack) Leftovers(ctx context.Context) ([]string, error) {
	var left []string
	label := "label=com.docker.compose.project=" + s.opts.Project
	for _, args := range [][]string{
		{"ps", "--all", "--filter", label, "--format", "container {{.Names}}"},
		{"volume", "ls", "--filter", label, "--format", "volume {{.Name}}"},
		{"network", "ls", "--filter", label, "--format", "network {{.Name}}"},
		{"images", "--all", "--filter", "label=" + s.fillerLabel(), "--format", "image {{.ID}}"},
	} {
		out, err := docker(ctx, args...)
		if err != nil {
			return left, err
		}
		for line := range strings.Lines(out) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	return left, nil
}

// Diagnose writes the state and the last log lines of every container.
func (s *Stack) Diagnose(ctx context.Context, w io.Writer) {
	names, err := s.Containers(ctx)
	if err != nil {
		fmt.Fprintln(w, err)
	}
	for _, name := range names {
		state, _ := docker(ctx, "inspect", "--format", "{{json .State}}", name)
		fmt.Fprintf(w, "\n=== %s %s\n", name, state)
		cmd := exec.CommandContext(ctx, "docker", "logs", "--tail=40", name)
		cmd.Stdout, cmd.Stderr = w, w
		_ = cmd.Run() // best effort
	}
}
