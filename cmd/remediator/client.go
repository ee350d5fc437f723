package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	commonconfig "github.com/prometheus/common/config"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

const (
	clientTimeout = 40 * time.Second // explain may take 30
	maxAnswer     = 64 << 20
)

// call asks the API. An answer that is no success becomes an error with its text.
func call(ctx context.Context, cfg config, method, path string, body io.Reader, into any) error {
	token, err := cli.ReadSecret("web.bearer-token-file", cfg.tokenFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(cfg.url, "/")+path, body)
	if err != nil {
		return fmt.Errorf("--remediator.url: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	client, err := newClient(cfg.httpConfig)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("--remediator.url: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // what came is enough
		return fmt.Errorf("%s: %s", resp.Status, cli.OneLine(string(text)))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("answer of %s: %w", path, err)
	}
	return nil
}

// healthcheck asks for a sign of life, through the same door and without the token.
func healthcheck(ctx context.Context, cfg config) error {
	client, err := newClient(cfg.httpConfig)
	if err != nil {
		return err
	}
	return cli.HealthCheck(ctx, client, strings.TrimSuffix(cfg.url, "/")+"/-/healthy")
}

// newClient returns what asks a remediator behind --web.config.file: with an authority and a
// certificate, if a file names them.
func newClient(file string) (*http.Client, error) {
	if file == "" {
		return http.DefaultClient, nil
	}
	settings, _, err := commonconfig.LoadHTTPConfigFile(file)
	if err != nil {
		return nil, fmt.Errorf("--http.config.file=%s: %s", file, cli.OneLine(err.Error())) // YAML complains in several lines
	}
	client, err := commonconfig.NewClientFromConfig(*settings, program)
	if err != nil {
		return nil, fmt.Errorf("--http.config.file=%s: %w", file, err)
	}
	return client, nil
}
