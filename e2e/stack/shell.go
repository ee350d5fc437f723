package stack

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
)

// Stand returns variables for a shell in a clone's compose folder in which nothing is typed otherwise than on a machine with a
// registry and GitHub: they name images that are made here, the simulated GitHub, and free ports. What a person must choose
// is not among them.
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
		// Of what they cost, not of what they do.
		"RUNNER_HEALTH_INTERVAL": "1s",
		"RUNNER_CPUS":            "1.0",
	})
	for name, port := range s.Ports.each() {
		env[name] = strconv.Itoa(port)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, name+"="+env[name])
	}
	return all, nil
}

// Plugin is the path of a Compose that can be a plugin of the docker command.
func (s *Stack) Plugin(ctx context.Context) (string, error) { return s.tool(ctx, "docker-compose") }
