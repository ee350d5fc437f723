package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// lastExpiry asks the exporter that serves with the same flags on this machine when the token would
// have expired: it has seen the token work, which check has not. It returns zero if there is none,
// or if the token is valid for that one.
func (e *exporter) lastExpiry(ctx context.Context) time.Time {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	addresses := e.cfg.web.WebListenAddresses
	if addresses == nil || len(*addresses) == 0 {
		return time.Time{}
	}
	host, port, err := net.SplitHostPort((*addresses)[0])
	if err != nil {
		return time.Time{}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	url := "http://" + net.JoinHostPort(host, port) + "/metrics?collect[]=credential"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return time.Time{}
	}
	// Without the proxy of the environment: the exporter is on this machine.
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return time.Time{}
	}
	defer resp.Body.Close()
	var expiry time.Time
	rejected := false
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 1<<20))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "ghostrunner_pat_valid":
			rejected = value == "0"
		case "ghostrunner_pat_expiry_timestamp_seconds":
			if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds > 0 && seconds < 1e11 {
				expiry = time.Unix(int64(seconds), 0)
			}
		}
	}
	if lines.Err() != nil || !rejected {
		return time.Time{}
	}
	return expiry
}
