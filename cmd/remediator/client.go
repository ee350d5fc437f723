package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

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
	resp, err := http.DefaultClient.Do(req)
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
