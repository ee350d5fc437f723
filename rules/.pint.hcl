// The policy of this folder, for pint (https://cloudflare.github.io/pint/): TestRulesFollowThePolicy runs it offline, and a
// warning fails. Beside what is asked for here, pint looks by itself for what can never match, repeats another rule, divides
// by zero, or has a template that reads a label that is not there.
//
// What pint cannot ask offline (that a metric and its labels exist, that no selector names a container) stands in
// metrics_test.go. A check that is wrong about a rule is turned off at the end, for that rule and with the reason; comments in
// the rules cannot turn off what is locked. A regexp must match as a whole, and its alternatives need parentheses for that.

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
    comment           = "Rules name no container: what is a runner, and what a service, is said by labels."
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

// What waits longer comes after people have noticed by themselves; what stands longer after its end is a lie.
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

// level:metric:operation (https://prometheus.io/docs/practices/rules/); the level is the labels that are left.
rule {
  locked = true
  match { kind = "recording" }
  name "(host|host_container|host_container_runner|host_name|host_runner|host_source):ghostrunner_[a-z_]+:[a-z0-9]+" {
    severity = "bug"
  }
}

// A machine is its `host`: inhibition, remediator and dashboards go by it.
rule {
  locked = true
  ignore { name = "GhostrunnerWatchdog" }                    // is of no machine
  ignore { name = "Ghostrunner(Exporter|Remediator)Down" }   // what is gone from the configuration has no host any more
  aggregate ".+" {
    keep = ["host"]
  }
}

// The scrape job is no part of an alert's identity, or what two jobs scrape would be two alerts, and two restarts.
rule {
  locked = true
  aggregate ".+" {
    strip = ["instance", "job"]
  }
}

// The heartbeat is vector(1), which fires always, as it must. The other two ask absent(), whose only value is a fault.
rule {
  match { name = "(GhostrunnerWatchdog|Ghostrunner(Exporter|Remediator)Down)" }
  disable = ["alerts/comparison"]
}

// A difference of two aggregations is fragile where a Prometheus that has just started knows only some of their targets.
// These subtract from a counter its own past, runner by runner: both sides are of one target.
rule {
  match { name = "Ghostrunner(RunnerVersionDeprecated|SessionConflict|WatchdogStorm)" }
  disable = ["promql/fragile"]
}

// What is in force of the clock's threshold is drawn as a line, for which one evaluation late is soon enough.
rule {
  match { name = "host_name:ghostrunner_threshold:effective" }
  disable = ["rule/dependency"]
}
