package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Usage is what a container has used, including its health checks.
type Usage struct {
	CPU    time.Duration // since its start
	Memory uint64        // bytes, without reclaimable page cache
}

// Usage asks the engine about every running container of the project, by Compose service.
func (s *Stack) Usage(ctx context.Context) (map[string]Usage, error) {
	ids, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	usage := map[string]Usage{}
	for service, id := range ids {
		var stats struct {
			CPU struct {
				Usage struct {
					Total uint64 `json:"total_usage"`
				} `json:"cpu_usage"`
			} `json:"cpu_stats"`
			Memory struct {
				Usage uint64
				Stats map[string]uint64
			} `json:"memory_stats"`
		}
		if err := engineGet(ctx, "/containers/"+id+"/stats?stream=false&one-shot=true", &stats); err != nil {
			return nil, fmt.Errorf("usage of %s: %w", service, err)
		}
		// Inactive page cache, by its name in cgroups v1 or v2.
		cache := cmp.Or(stats.Memory.Stats["total_inactive_file"], stats.Memory.Stats["inactive_file"])
		usage[service] = Usage{
			CPU:    time.Duration(stats.CPU.Usage.Total), //nolint:gosec // nanoseconds of some hours
			Memory: stats.Memory.Usage - min(cache, stats.Memory.Usage),
		}
	}
	return usage, nil
}

// Resident is the resident memory in bytes of the first process of each running container, by
// Compose service. The engine is asked, because it may run in another PID namespace.
func (s *Stack) Resident(ctx context.Context) (map[string]float64, error) {
	ids, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	resident := map[string]float64{}
	for service, id := range ids {
		first, err := docker(ctx, "inspect", "--format={{.State.Pid}}", id)
		if err != nil {
			return nil, err
		}
		top, err := docker(ctx, "top", id, "-o", "pid,rss")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(top) {
			var pid string
			var kib float64
			if n, _ := fmt.Sscan(line, &pid, &kib); n == 2 && pid == first {
				resident[service] = kib * 1024
			}
		}
		if resident[service] == 0 {
			return nil, fmt.Errorf("no memory of process %s of %s in:\n%s", first, service, top)
		}
	}
	return resident, nil
}

// running has the ids of the project's running containers, by Compose service.
func (s *Stack) running(ctx context.Context) (map[string]string, error) {
	out, err := docker(ctx, "ps", "--filter", "label=com.docker.compose.project="+s.opts.Project, "--no-trunc",
		"--format", `{{.ID}} {{.Label "com.docker.compose.service"}}`)
	ids := map[string]string{}
	for line := range strings.Lines(out) {
		id, service, _ := strings.Cut(strings.TrimSpace(line), " ")
		ids[service] = id
	}
	return ids, err
}

// engineGet calls Docker's API for what its command line does not show.
func engineGet(ctx context.Context, path string, into any) error {
	socket := strings.TrimPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock"), "unix://")
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
