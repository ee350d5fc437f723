// Wget replaces busybox's in images of servers that were built here, for the health checks of
// compose.yaml. It exits with 0 if the page exists.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	flag.Bool("q", false, "be quiet")
	seconds := flag.Int("T", 900, "time-out in seconds")
	flag.String("O", "", "file to write, which is not done")
	flag.Parse()
	if err := get(flag.Arg(0), time.Duration(*seconds)*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "wget:", err)
		os.Exit(1)
	}
}

func get(url string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("server returned error: %s", resp.Status)
	}
	return nil
}
