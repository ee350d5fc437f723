package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// board is one dashboard: rows of panels.
type board struct {
	name         string // of its file; with "ghostrunner-" before it, its uid
	title, about string
	rows         []row
	// everyHost hides the choice of runners on a dashboard without metrics of runners.
	everyHost bool
}

type row struct {
	title  string
	panels []panel
}

const (
	runbooks = "https://github.com/blueguy23/ghostrunner/blob/main/INCIDENTS.md"
	tag      = "ghostrunner"
)

// source is the chosen data source.
var source = common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}

// build makes a dashboard of the classic schema, which every Grafana and dashboard-linter read from
// a file.
func (b board) build() (dashboard.Dashboard, error) { //nolint:staticcheck // see above
	d := dashboard.NewDashboardBuilder(b.title) //nolint:staticcheck // see above
	d.Uid(tag+"-"+b.name).Description(b.about).Tags([]string{tag}).
		Readonly().Refresh("30s").Time("now-6h", "now").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("ghostrunner").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{tag}).
			IncludeVars(true).KeepTime(true)).
		Link(dashboard.NewDashboardLinkBuilder("Runbooks").Type(dashboard.DashboardLinkTypeLink).Url(runbooks).Icon("doc").TargetBlank(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus").
			Current(dashboard.VariableOption{Text: text("Prometheus"), Value: text("prometheus")})).
		WithVariable(choice("host", "Host", `label_values(up{job=~"ghostrunner-.+"}, host)`))
	if !b.everyHost {
		d.WithVariable(choice("runner", "Runner", `label_values(ghostrunner_container_info{host=~"$host", role="runner"}, runner)`))
	}
	for _, a := range annotations {
		d.Annotation(a)
	}
	for _, r := range b.rows {
		d.WithRow(dashboard.NewRowBuilder(r.title))
		for _, p := range r.panels {
			d.WithPanel(p.builder())
		}
	}
	built, err := d.Build()
	if err != nil {
		return built, err
	}
	// The builders put links and switches into a menu. Show them in their usual place.
	for i := range built.Links {
		built.Links[i].Placement = nil
	}
	for i := range built.Annotations.List {
		built.Annotations.List[i].Placement = nil
	}
	// Numbered in reading order: a link to a panel needs a number.
	for i, p := range built.Panels {
		id := uint32(i + 1)
		if p.Panel != nil {
			p.Panel.Id = &id
			for j := range p.Panel.Links {
				p.Panel.Links[j].Placement = nil
			}
		} else {
			p.RowPanel.Id = id
		}
	}
	return built, nil
}

// choice is a variable with which a reader chooses several values, or all.
func choice(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source).Query(dashboard.StringOrMap{String: &query}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortNaturalAsc).
		Multi(true).IncludeAll(true).AllValue(".*").
		Current(dashboard.VariableOption{Selected: new(true), Text: texts("All"), Value: texts("$__all")})
}

// annotations mark actions and the begin of critical alerts on every graph. The first is drawn at
// the time that the remediator reports, to the millisecond, not at the next sample.
var annotations = []cog.Builder[dashboard.AnnotationQuery]{
	dashboard.NewAnnotationQueryBuilder().Name("Actions").Datasource(source).IconColor("blue").
		Expr(`1000 * max by (host, action, target, outcome, reason) (ghostrunner_remediator_last_decision_timestamp_seconds{host=~"$host", outcome!="refused"})`).
		UseValueForTime(true).TitleFormat("{{action}} {{target}}").TextFormat("{{outcome}} {{reason}} on {{host}}").TagKeys("action,outcome,host"),
	dashboard.NewAnnotationQueryBuilder().Name("Critical alerts").Datasource(source).IconColor("red").
		Expr(`max by (host, alertname, runner, container) (ALERTS{host=~"$host", alertstate="firing", severity="critical"})`).
		TitleFormat("{{alertname}}").TextFormat("{{runner}}{{container}} on {{host}}").TagKeys("alertname,host"),
}

func text(s string) dashboard.StringOrArrayOfString {
	return dashboard.StringOrArrayOfString{String: &s}
}

func texts(s ...string) dashboard.StringOrArrayOfString {
	return dashboard.StringOrArrayOfString{ArrayOfString: s}
}
