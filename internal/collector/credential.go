package collector

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// What is known about the token comes with every answer of GitHub; no call is made for it alone. A
// dead network says nothing about a token, so the last verdict stays, with the time at which it was
// given.

var (
	patValid = prometheus.NewDesc("ghostrunner_pat_valid",
		"Whether GitHub accepted the token; absent until GitHub answered.", nil, nil)
	patPermission = prometheus.NewDesc("ghostrunner_pat_permission_sufficient",
		"Whether the token may manage runners; absent until that is known.", nil, nil)
	patExpiry = prometheus.NewDesc("ghostrunner_pat_expiry_timestamp_seconds",
		"When the token expires; absent if GitHub reported no end.", nil, nil)
	patLastCheck = prometheus.NewDesc("ghostrunner_pat_last_check_timestamp_seconds",
		"When GitHub last said anything about the token.", nil, nil)
)

type credentialSource struct{ from GitHub }

// NewCredential returns the source "credential".
func NewCredential(from GitHub) Source { return credentialSource{from} }

func (credentialSource) Name() string { return NameCredential }

func (s credentialSource) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	c := s.from.Snapshot().Credential
	if c.Known {
		gauge(ch, patValid, boolean(c.Valid))
	}
	if c.PermissionKnown {
		gauge(ch, patPermission, boolean(c.PermissionSufficient))
	}
	timestamp(ch, patExpiry, c.Expiry)
	timestamp(ch, patLastCheck, c.LastCheck)
	return nil
}
