package stack

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
)

// Stand returns environment variables for a shell in a clone's compose folder, so that the
// documented commands work without a registry and GitHub: image names, the simulated GitHub, and
// free ports. Values that a user must choose are not among them.
func (s *Stack) Stand(ctx context.Context, clone string) ([]string, error) {
	if err := s.dockerAnswers(ctx); err != nil {
		return nil, err
	}
	if err := s.portsFree(ctx); err != nil {
		return nil, err
	}
	env, err := s.images(ctx)
	if err != nil {
		return nil, err
	}
	maps.Copy(env, map[string]string{
		"COMPOSE_PROJECT_NAME": s.opts.Project,
		"COMPOSE_FILE":         filepath.Join(clone, "compose", "compose.yaml") + ":" + filepath.Join(clone, "compose", "demo.yaml"),
		"CONTAINER_PREFIX":     s.opts.Project + "-",
		"GITHUB_API_URL":       "http://lab:10070",
		// These change the cost, not the behavior.
		"RUNNER_HEALTH_INTERVAL": "1s",
		"RUNNER_CPUS":            "1.0",
	})
	for name, port := range s.Ports.variables() {
		env[name] = strconv.Itoa(*port)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, name+"="+env[name])
	}
	return all, nil
}

// Plugin is the path of a Compose that can be used as a plugin of the docker command.
func (s *Stack) Plugin(ctx context.Context) (string, error) { return s.tool(ctx, "docker-compose") }
