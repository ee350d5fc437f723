package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Addresses of the programs, for people and for tests.
func (s *Stack) url(port int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
}

// URLs lists what there is to look at.
func (s *Stack) URLs() [][2]string {
	grafana := "grafana"
	if strings.HasPrefix(s.env["GRAFANA_IMAGE"], "ghostrunner-demo/") {
		grafana = "grafana (a stand-in)"
	}
	return [][2]string{
		{grafana, s.url(s.Ports.Grafana, "/")},
		{"remediator", s.url(s.Ports.Remediator, "/")},
		{"alertmanager", s.url(s.Ports.Alertmanager, "/")},
		{"prometheus", s.url(s.Ports.Prometheus, "/alerts")},
		{"exporter", s.url(s.Ports.Exporter, "/metrics")},
		{"lab", s.url(s.Ports.Lab, "/lab/v1/state")},
	}
}

// Get fetches a page of one of the programs and returns its status and body.
func (s *Stack) Get(ctx context.Context, port int, path string) (int, []byte, error) {
	return s.Do(ctx, http.MethodGet, port, path, nil, nil)
}

// Do sends one request.
func (s *Stack) Do(ctx context.Context, method string, port int, path string, header http.Header, body io.Reader) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url(port, path), body)
	if err != nil {
		return 0, nil, err
	}
	maps.Copy(req.Header, header)
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return resp.StatusCode, text, err
}

// JSON fetches and decodes, and turns any status but 200 into an error.
func (s *Stack) JSON(ctx context.Context, port int, path string, into any) error {
	status, text, err := s.Get(ctx, port, path)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s: status %d: %.200s", s.url(port, path), status, text)
	}
	return json.Unmarshal(text, into)
}

// Query evaluates a PromQL expression now. No sample is not an error: ok is false then.
func (s *Stack) Query(ctx context.Context, expr string) (value float64, ok bool, err error) {
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	if err := s.JSON(ctx, s.Ports.Prometheus, "/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
		return 0, false, err
	}
	if len(answer.Data.Result) == 0 {
		return 0, false, nil
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	value, err = strconv.ParseFloat(text, 64)
	return value, err == nil, err
}

// AlertActive reports whether Alertmanager holds an active alert with these labels, inhibited or not.
func (s *Stack) AlertActive(ctx context.Context, labels map[string]string) (bool, error) {
	query := url.Values{}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		query.Add("filter", name+"="+strconv.Quote(labels[name]))
	}
	var alerts []struct {
		EndsAt time.Time `json:"endsAt"`
	}
	err := s.JSON(ctx, s.Ports.Alertmanager, "/api/v2/alerts?"+query.Encode(), &alerts)
	return len(alerts) > 0, err
}

// AlertsActive lists the labels of the alerts that Alertmanager holds, inhibited or not.
func (s *Stack) AlertsActive(ctx context.Context) (active []map[string]string, err error) {
	var alerts []struct {
		Labels map[string]string `json:"labels"`
	}
	err = s.JSON(ctx, s.Ports.Alertmanager, "/api/v2/alerts", &alerts)
	for _, a := range alerts {
		active = append(active, a.Labels)
	}
	return active, err
}

// Metric sums the samples of a counter or gauge whose labels contain all of those given, straight from a program's page.
func (s *Stack) Metric(ctx context.Context, port int, name string, labels map[string]string) (sum float64, found bool, err error) {
	page, err := s.Page(ctx, port)
	if err != nil {
		return 0, false, err
	}
	return page.Sum(name, labels)
}

// Page is the text of a program's /metrics at one moment.
type Page string

// Page fetches a program's metrics.
func (s *Stack) Page(ctx context.Context, port int) (Page, error) {
	status, text, err := s.Get(ctx, port, "/metrics")
	if err != nil || status != http.StatusOK {
		return "", fmt.Errorf("metrics of port %d: status %d: %w", port, status, err)
	}
	return Page(text), nil
}

// Sum adds up the samples of a counter or gauge whose labels contain all of those given.
func (p Page) Sum(name string, labels map[string]string) (sum float64, found bool, err error) {
lines:
	for line := range strings.Lines(string(p)) {
		rest, isIt := strings.CutPrefix(line, name)
		if !isIt || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		for k, v := range labels {
			if !strings.Contains(rest, k+"="+strconv.Quote(v)) {
				continue lines
			}
		}
		fields := strings.Fields(line)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, false, err
		}
		sum, found = sum+v, true
	}
	return sum, found, nil
}

// Done counts the actions that were completed and verified since a moment, by "action target", as the journal has them: a
// remediator that is killed meanwhile loses none.
func (s *Stack) Done(ctx context.Context, since time.Time) (map[string]int, error) {
	return s.attempts(ctx, since, "completed")
}

// Begun counts likewise what was begun, whatever came of it.
func (s *Stack) Begun(ctx context.Context, since time.Time) (map[string]int, error) {
	return s.attempts(ctx, since, "completed", "failed", "running")
}

// attempts counts those with one of the outcomes.
func (s *Stack) attempts(ctx context.Context, since time.Time, outcomes ...string) (map[string]int, error) {
	token, err := s.WebhookToken(ctx)
	if err != nil {
		return nil, err
	}
	path := "/api/v1/attempts?limit=1000&since=" + url.QueryEscape(since.UTC().Format(time.RFC3339))
	status, text, err := s.Do(ctx, http.MethodGet, s.Ports.Remediator, path, http.Header{"Authorization": {"Bearer " + token}}, nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("attempts: status %d: %.200s", status, text)
	}
	var attempts []struct {
		Action, Target, Outcome string
		Began                   time.Time
	}
	if err := json.Unmarshal(text, &attempts); err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, a := range attempts {
		if slices.Contains(outcomes, a.Outcome) && a.Began.After(since) {
			counts[a.Action+" "+a.Target]++
		}
	}
	return counts, nil
}

// Fault switches a fault of the simulated world, as a person would from a shell.
func (s *Stack) Fault(ctx context.Context, name, state string, more ...string) error {
	args := append([]string{"fault", name, state, "--lab.url", s.url(s.Ports.Lab, "")}, more...)
	if out, err := exec.CommandContext(ctx, s.programPath("lab"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ghostrunner-lab fault %s %s: %w: %s", name, state, err, bytes.TrimSpace(out))
	}
	return nil
}

// Job queues one job in the simulated GitHub, for the slot or, if that is empty, for any.
func (s *Stack) Job(ctx context.Context, name, slot string, duration time.Duration) error {
	body, err := json.Marshal(map[string]any{"name": name, "duration": duration.String(), "result": "Succeeded", "runner": slot})
	if err != nil {
		return err
	}
	status, text, err := s.Do(ctx, http.MethodPost, s.Ports.Lab, "/lab/v1/jobs",
		http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body))
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("queue job %s: status %d: %.200s", name, status, text)
	}
	return err
}

// WebhookToken reads the token that the stack made at its first start, once.
func (s *Stack) WebhookToken(ctx context.Context) (token string, err error) {
	if s.token == "" {
		s.token, err = s.File(ctx, "remediator", "/run/ghostrunner/webhook-token")
	}
	return s.token, err
}

// File reads a small file in the container of a Compose service.
func (s *Stack) File(ctx context.Context, service, path string) (string, error) {
	container, err := s.ServiceContainer(ctx, service)
	if err != nil {
		return "", err
	}
	archive, err := docker(ctx, "cp", container+":"+path, "-")
	if err != nil {
		return "", err
	}
	return tarContent(archive)
}

// Await polls a condition until it holds. It returns the last error with what was waited for when ctx ends first.
func Await(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := condition(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("waiting for %s: %w", what, err)
			}
			return fmt.Errorf("waiting for %s: it did not happen in time", what)
		case <-tick.C:
		}
	}
}
