// The policy of this folder, for pint (https://cloudflare.github.io/pint/).
// TestRulesFollowThePolicy runs it offline, and a warning fails. Pint itself also finds what can
// never match, repeats another rule, divides by zero, or has a template that reads a missing label.
//
// metrics_test.go checks what pint cannot check offline: that metrics and labels exist, and that no
// selector names a container. A check that is wrong about a rule is disabled at the end, for that
// rule and with the reason; comments in the rules cannot disable what is locked. A regexp must
// match as a whole, and its alternatives need parentheses for that.

// What routing, remediator, dashboards and people rely on.
rule {
  locked = true
  match { kind = "alerting" }

  name "Ghostrunner[A-Z][A-Za-z]+" {
    severity = "bug"
  }
  label "severity" {
    required = true
    value    = "(critical|warning|info|none)"
  }
  label "layer" {
    required = true
    value    = "(clock|dns|credential|github|docker|disk|runner|pipeline)"
  }
  label "remediation" {
    value = "(restart|backoff|prune)"
  }
  label "recheck" {
    value = "(health|online|disk)"
  }
  annotation "summary" {
    required = true
    value    = "[A-Z][^{}0-9]+[.]"
    comment  = "One static sentence, so that a list of alerts can be read."
  }
  annotation "description" {
    required = true
  }
  annotation "runbook_url" {
    required = true
    value    = "https://github[.]com/blueguy23/ghostrunner/blob/main/INCIDENTS[.]md#ghostrunner[a-z]+"
  }
  reject "(?s).*ci-(runner|mongo).*" {
    annotation_values = true
    comment           = "Rules name no container: labels say what is a runner and what is a service."
  }
}

// Only the heartbeat is of no severity.
rule {
  locked = true
  match { kind = "alerting" }
  ignore { name = "GhostrunnerWatchdog" }
  label "severity" {
    value = "(critical|warning|info)"
  }
}

// An alert that waits longer comes after people have noticed the fault.
rule {
  locked = true
  match { kind = "alerting" }
  for {
    max = "30m"
  }
  keep_firing_for {
    max = "15m"
  }
}

// level:metric:operation (https://prometheus.io/docs/practices/rules/); the level is the labels
// that are left.
rule {
  locked = true
  match { kind = "recording" }
  name "(host|host_container|host_name|host_runner|host_source):ghostrunner_[a-z_]+:[a-z0-9]+" {
    severity = "bug"
  }
}

// `host` is the identity of a machine in inhibition, remediator and dashboards.
rule {
  locked = true
  ignore { name = "GhostrunnerWatchdog" }                    // belongs to no machine
  ignore { name = "Ghostrunner(Exporter|Remediator)Down" }   // a job that was removed has no host
  aggregate ".+" {
    keep = ["host"]
  }
}

// The scrape job is no part of an alert's identity: two jobs would make two alerts, and two
// restarts.
rule {
  locked = true
  aggregate ".+" {
    strip = ["instance", "job"]
  }
}

// The heartbeat is vector(1), which always fires. The other two use absent(), whose only value is a
// fault.
rule {
  match { name = "(GhostrunnerWatchdog|Ghostrunner(Exporter|Remediator)Down)" }
  disable = ["alerts/comparison"]
}

// A difference of two aggregations is fragile if Prometheus has just started and knows only some of
// their targets. Here both sides are of one target: a counter minus its own past.
rule {
  match { name = "GhostrunnerWatchdogStorm" }
  disable = ["promql/fragile"]
}
