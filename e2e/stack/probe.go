package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/lab"
)

func (s *Stack) url(port int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
}

// URLs lists the pages of the stack with their names.
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

// Get fetches a page of a program and returns its status and body.
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

// JSON fetches a page and decodes it; a status other than 200 is an error.
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

// Query evaluates a PromQL expression. ok is false if it has no result.
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

// AlertActive reports whether Alertmanager has an active alert with these labels, inhibited or not.
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

// AlertsActive lists the labels of Alertmanager's alerts, inhibited or not.
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

// Metric sums the samples of a program's /metrics that have all of the labels.
func (s *Stack) Metric(ctx context.Context, port int, name string, labels map[string]string) (sum float64, found bool, err error) {
	page, err := s.Page(ctx, port)
	if err != nil {
		return 0, false, err
	}
	return page.Sum(name, labels)
}

// Page is the text of /metrics.
type Page string

// Page fetches a program's metrics.
func (s *Stack) Page(ctx context.Context, port int) (Page, error) {
	status, text, err := s.Get(ctx, port, "/metrics")
	if err != nil || status != http.StatusOK {
		return "", fmt.Errorf("metrics of port %d: status %d: %w", port, status, err)
	}
	return Page(text), nil
}

// Sum sums the samples of a metric that have all of the labels.
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

// Done counts the actions that were completed and verified since then, by "action target". The
// journal survives a kill of the remediator.
func (s *Stack) Done(ctx context.Context, since time.Time) (map[string]int, error) {
	return s.attempts(ctx, since, "completed")
}

// Begun counts the actions that were begun since then, with any outcome.
func (s *Stack) Begun(ctx context.Context, since time.Time) (map[string]int, error) {
	return s.attempts(ctx, since, "completed", "failed", "running")
}

// attempts counts the actions with one of the outcomes.
func (s *Stack) attempts(ctx context.Context, since time.Time, outcomes ...string) (map[string]int, error) {
	header, err := s.Authorization(ctx)
	if err != nil {
		return nil, err
	}
	path := "/api/v1/attempts?limit=1000&since=" + url.QueryEscape(since.UTC().Format(time.RFC3339))
	status, text, err := s.Do(ctx, http.MethodGet, s.Ports.Remediator, path, header, nil)
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

// Lab controls the simulated GitHub.
func (s *Stack) Lab() *lab.Client { return lab.NewClient(s.url(s.Ports.Lab, "")) }

// Job queues a job in the simulated GitHub, for a slot or, if that is empty, for any.
func (s *Stack) Job(ctx context.Context, name, slot string, duration time.Duration) error {
	_, err := s.Lab().Enqueue(ctx, lab.JobRequest{Name: name, Duration: duration.String(), Runner: slot})
	return err
}

// WebhookToken reads the token that the stack generated at its first start, once.
func (s *Stack) WebhookToken(ctx context.Context) (token string, err error) {
	if s.token == "" {
		s.token, err = s.File(ctx, "remediator", "/run/ghostrunner/webhook-token")
	}
	return s.token, err
}

// File reads a small file from the container of a Compose service.
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

// Await polls a condition until it holds. If ctx ends first, the error has the last one of the
// condition.
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
