package stack

import (
	"context"
	"strings"
)

// VictimImage builds the image of a container that is unhealthy until it is restarted
// (e2e/testdata/victim).
func (s *Stack) VictimImage(ctx context.Context) (string, error) {
	program, err := s.standin(ctx, "victim")
	if err != nil {
		return "", err
	}
	return s.importImage(ctx, image{
		name:  "victim",
		files: map[string]string{"/victim": program},
		changes: []string{
			`ENTRYPOINT ["/victim"]`,
			// Docker reports the health after the first check. One check a second adds little load
			// to what is measured.
			`HEALTHCHECK --interval=1s --retries=1 CMD ["/victim", "check"]`,
		},
	})
}

// StartVictim starts such a container as a service of this project that may be restarted, with
// further arguments of `docker run`, and returns its name.
func (s *Stack) StartVictim(ctx context.Context, image, name string, more ...string) (string, error) {
	container := s.Container(name)
	args := append([]string{"run", "--detach", "--name=" + container, "--network=none",
		"--label=com.docker.compose.project=" + s.opts.Project, "--label=" + s.victimLabel(),
		"--label=ghostrunner.role=service", "--label=ghostrunner.heal=restart"}, more...)
	_, err := docker(ctx, append(args, image)...)
	return container, err
}

// RemoveVictims removes all of them.
func (s *Stack) RemoveVictims(ctx context.Context) error {
	out, err := docker(ctx, "ps", "--all", "--quiet", "--filter", "label="+s.victimLabel())
	if err != nil || out == "" {
		return err
	}
	_, err = docker(ctx, append([]string{"rm", "--force"}, strings.Fields(out)...)...)
	return err
}

func (s *Stack) victimLabel() string { return "ghostrunner.demo.victim=" + s.opts.Project }
