package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const healthTimeout = 5 * time.Second

// HealthCheck fails unless url answers 200. Docker runs it as the health check of our images, which
// contain no other HTTP client.
func HealthCheck(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
