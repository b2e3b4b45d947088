//! Draws a summary on a terminal of any size; 80 by 24 is enough for all of it, and on one that is
//! much smaller there are no tables.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Style, Stylize as _},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table as Grid, Wrap},
};

use super::{
    summary::{Summary, Table},
    text::{cells, headings},
};

/// The width of a number.
const NUMBER: u16 = 6;

/// The most lines of warnings.
const WARNINGS: usize = 3;

/// The least width and height for tables.
const TABLES: (u16, u16) = (72, 18);

/// What is on the screen.
pub(super) struct Screen<'a> {
    pub(super) address: &'a str,
    pub(super) summary: &'a Summary,
    /// Why the numbers are old, if they are.
    pub(super) trouble: Option<&'a str>,
}

/// Draws the screen.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen<'_>) {
    let Screen { address, summary, trouble } = screen;
    let warnings = warnings(summary, *trouble);
    if frame.area().width < TABLES.0 || frame.area().height < TABLES.1 {
        return draw_small(frame, summary, warnings);
    }
    let height = |it: usize| u16::try_from(it).unwrap_or(u16::MAX);
    let (methods, stytch) = (height(summary.methods.rows.len()), height(summary.stytch.rows.len()));
    let [head, facts, said, first, second, rest] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(height(warnings.len()).max(1)),
        // With the headings, and a blank line below.
        Constraint::Max(methods.saturating_add(2)),
        Constraint::Max(stytch.saturating_add(2)),
        Constraint::Min(6),
    ])
    .areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(9)]).areas(head);
    let address = address.trim_start_matches("http://");
    let title = Line::from(vec![summary.title.as_str().bold(), format!("  {address}").dim()]);
    frame.render_widget(title, left);
    frame.render_widget(Line::from("q leaves").right_aligned().dim(), right);
    for (line, area) in summary.facts.iter().zip(facts.rows()) {
        frame.render_widget(facts_line(line), area);
    }
    for (warning, area) in warnings.into_iter().zip(said.rows()) {
        frame.render_widget(warning, area);
    }
    grid(frame, &summary.methods, 0, first);
    grid(frame, &summary.stytch, 0, second);
    let columns = [Constraint::Length(27), Constraint::Length(27), Constraint::Min(24)];
    let [left, middle, right] = Layout::horizontal(columns).spacing(1).areas(rest);
    // There is no room for totals beside each other.
    grid(frame, &summary.callers, 1, left);
    grid(frame, &summary.refusals, 1, middle);
    grid(frame, &summary.codes, 1, right);
}

/// Draws warnings and facts on a terminal that has no room for tables.
fn draw_small(frame: &mut Frame<'_>, summary: &Summary, warnings: Vec<Line<'_>>) {
    let hint = Line::from("80 by 24 shows more; q leaves").dim();
    let facts = summary.facts.iter().map(|facts| facts_line(facts));
    let lines: Vec<_> = warnings.into_iter().chain(facts).chain([hint]).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), frame.area());
}

fn facts_line<'a>(facts: &'a [(&'static str, String)]) -> Line<'a> {
    let facts = facts.iter().flat_map(|(name, value)| {
        [Span::raw(*name).dim(), Span::raw(" "), Span::raw(value.as_str()), Span::raw("  ")]
    });
    facts.collect()
}

fn warnings<'a>(summary: &'a Summary, trouble: Option<&'a str>) -> Vec<Line<'a>> {
    let texts = trouble.into_iter().chain(summary.warnings.iter().map(String::as_str));
    let mut texts: Vec<_> = texts.map(str::to_owned).collect();
    if texts.len() > WARNINGS {
        let more = texts.split_off(WARNINGS - 1).len();
        texts.push(format!("and {more} more, which --once prints"));
    }
    texts.into_iter().map(|text| Line::from(format!("! {text}")).red().bold()).collect()
}

/// Draws as many rows of a table as fit, without its first `skipped` numbers.
fn grid(frame: &mut Frame<'_>, table: &Table, skipped: usize, area: Rect) {
    // A blank line sets it apart from what follows.
    let shown = usize::from(area.height.saturating_sub(2));
    let left_out = table.rows.len().saturating_sub(shown);
    let name = match left_out {
        0 => table.title.to_owned(),
        _ => format!("{} (and {left_out} more)", table.title),
    };
    let headings: Vec<_> = headings(table).into_iter().skip(skipped).collect();
    let numbers = headings.len();
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let heading =
        Row::new(std::iter::once(Cell::from(name)).chain(headings.into_iter().map(right)));
    let rows = table.rows.iter().take(shown).map(|row| {
        let style = match row.failed {
            Some(failed) if failed > 0.5 => Style::new().red(),
            _ => Style::new(),
        };
        let name = Cell::from(row.name.as_str());
        Row::new(
            std::iter::once(name).chain(cells(table, row).into_iter().skip(skipped).map(right)),
        )
        .style(style)
    });
    let widths = std::iter::once(Constraint::Min(8))
        .chain(std::iter::repeat_n(Constraint::Length(NUMBER), numbers));
    let grid = Grid::new(rows, widths).header(heading.style(Style::new().bold().underlined()));
    frame.render_widget(grid, area);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::cli::top::{exposition::Page, window::Window};

    /// A façade that had a bad minute.
    const PAGE: &str = r#"
totp_facade_build_info{version="0.1.0",revision="abc1234"} 1
process_start_time_seconds 1000
process_cpu_seconds_total 30
process_resident_memory_bytes 47185920
totp_facade_calls_in_flight 950
totp_facade_calls_limit 1024
totp_facade_connections_open 7
totp_facade_connections_limit 512
totp_facade_calls_shed_total{limit="process"} 60
totp_facade_upstream_breaker_open 1
totp_facade_upstream_retries_total 120
totp_facade_upstream_retry_budget_left 12
totp_facade_upstream_connections_open 2
totp_facade_idempotency_waiters 3
totp_facade_idempotency_store_failures_total 4
totp_facade_reload_last_failed{file="policy"} 1
totp_facade_reload_last_failed{file="tls"} 0
totp_facade_certificate_expiration_timestamp_seconds{file="tls_cert"} 87460
totp_facade_certificate_expiration_timestamp_seconds{file="tls_client_ca"} 9000000
totp_facade_calls_total{caller="login",grpc_method="Create",grpc_code="OK",upstream="done"} 300
totp_facade_calls_total{caller="login",grpc_method="Create",grpc_code="Unknown",upstream="unknown"} 100
totp_facade_calls_total{caller="unknown",grpc_method="Create",grpc_code="Unauthenticated",upstream="not_sent"} 20
totp_facade_audit_outcomes_total{outcome="done"} 300
totp_facade_audit_outcomes_total{outcome="unknown"} 100
totp_facade_refusals_total{reason="CALLER_UNKNOWN"} 20
totp_facade_refusals_total{reason="OVERLOADED"} 0
grpc_server_handled_total{grpc_type="unary",grpc_service="stytch.b2b.totp.v1.TotpService",grpc_method="Create",grpc_code="OK"} 300
grpc_server_handled_total{grpc_type="unary",grpc_service="stytch.b2b.totp.v1.TotpService",grpc_method="Create",grpc_code="Unknown"} 100
grpc_server_handled_total{grpc_type="unary",grpc_service="grpc.health.v1.Health",grpc_method="Check",grpc_code="OK"} 6
grpc_server_handling_seconds_bucket{grpc_type="unary",grpc_service="stytch.b2b.totp.v1.TotpService",grpc_method="Create",le="0.1"} 300
grpc_server_handling_seconds_bucket{grpc_type="unary",grpc_service="stytch.b2b.totp.v1.TotpService",grpc_method="Create",le="10.0"} 390
grpc_server_handling_seconds_bucket{grpc_type="unary",grpc_service="stytch.b2b.totp.v1.TotpService",grpc_method="Create",le="+Inf"} 400
http_client_request_duration_seconds_bucket{http_request_method="DELETE",url_template="/v1/b2b/organizations/{organization_id}/members/{member_id}/totp",http_response_status_code="500",error_type="500",le="10.0"} 60
http_client_request_duration_seconds_bucket{http_request_method="DELETE",url_template="/v1/b2b/organizations/{organization_id}/members/{member_id}/totp",http_response_status_code="500",error_type="500",le="+Inf"} 60
http_client_request_duration_seconds_count{http_request_method="DELETE",url_template="/v1/b2b/organizations/{organization_id}/members/{member_id}/totp",http_response_status_code="500",error_type="500"} 60
http_client_request_duration_seconds_count{http_request_method="POST",url_template="/v1/b2b/totp",http_response_status_code="200"} 3000
"#;

    fn summary(page: &str) -> Summary {
        let page = Page::parse(page).expect("a page");
        Summary::of(&Window::since_start(&page, UNIX_EPOCH + Duration::from_secs(1060)))
    }

    /// Draws on a terminal of this size, and returns its lines.
    fn drawn(width: u16, height: u16, summary: &Summary, trouble: Option<&str>) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        let screen = Screen { address: "http://127.0.0.1:9464", summary, trouble };
        terminal.draw(|frame| draw(frame, &screen)).expect("a frame");
        let buffer = terminal.backend().buffer();
        let rows = buffer.content.chunks(usize::from(width));
        let line = |row: &[ratatui::buffer::Cell]| row.iter().map(|it| it.symbol()).collect();
        rows.map(line).map(|line: String| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn everything_fits_80_by_24() {
        let lines = drawn(80, 24, &summary(PAGE), None);

        let expected = [
            "totp-facade 0.1.0 abc1234, up 1m 0s, since it started  127.0.0.1:9464   q leaves",
            "calls/s 7.00  not OK 29%  in flight 950/1024  connections 7/512  shed/s 1.00",
            "breaker OPEN  retries/s 2.00  retries left 12  to Stytch 2  waiting for a key 3",
            "CPU 50%  memory 45MiB  ever: unknown 100  store failed 4  audit lost 0",
            "! Stytch does not answer: the circuit breaker is open",
            "! the limit of calls in flight is near",
            "! and 2 more, which --once prints",
        ];
        assert_eq!(lines[..7], expected, "{lines:#?}");
        for line in [
            "Method                                  total  per s not OK    p50    p90    p99",
            "TotpService/Create                        400   6.67    25%   67ms   6.7s   >10s",
            "Health/Check                                6   0.10     0%      -      -      -",
            "Stytch                                  total  per s not OK    p50    p90    p99",
            "POST /totp                               3000   50.0     0%      -      -      -",
            "DELETE /organizations/*/members/*/totp     60   1.00   100%   5.0s   9.0s   9.9s",
        ] {
            assert!(lines.iter().any(|it| it == line), "no {line} in {lines:#?}");
        }
        let bottom = lines.iter().position(|it| it.starts_with("Caller")).expect("callers");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[bottom + 1]),
            ["login", "6.67", "25%", "CALLER_UNKNOWN", "0.33", "OK", "5.00"]
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let many = |index| {
            format!("totp_facade_calls_total{{caller=\"c{index}\",grpc_code=\"OK\"}} {index}\n")
        };
        let page: String = (0..40).map(many).collect();

        let lines = drawn(80, 24, &summary(&page), None);

        assert!(lines.iter().any(|line| line.starts_with("Caller (and ")), "{lines:#?}");
    }

    #[test]
    fn trouble_with_the_facade_comes_first_and_any_size_can_be_drawn() {
        let summary = summary(PAGE);

        let lines = drawn(80, 24, &summary, Some("cannot connect to http://127.0.0.1:9464"));
        assert_eq!(lines[4], "! cannot connect to http://127.0.0.1:9464");
        let lines = drawn(40, 16, &summary, None);
        for part in ["! Stytch does not answer: the circuit", "950/1024", "80 by 24"] {
            assert!(lines.iter().any(|it| it.contains(part)), "no {part} in {lines:#?}");
        }
        for (width, height) in [(1, 1), (20, 3), (40, 10), (79, 23), (200, 80)] {
            drawn(width, height, &summary, None);
        }
    }

    #[test]
    fn a_blocked_standard_error_is_a_warning() {
        let text = "! standard error takes nothing: calls that change something wait";
        for (value, is_shown) in [(1, true), (0, false)] {
            let page = format!("totp_facade_build_info 1\ntotp_facade_audit_blocked {value}\n");

            let lines = drawn(80, 24, &summary(&page), None);

            assert_eq!(lines.iter().any(|it| it == text), is_shown, "{lines:#?}");
        }
    }

    #[test]
    fn control_characters_on_the_page_do_not_reach_the_terminal() {
        let evil = "\u{1b}]0;owned\u{7}\u{9b}2J\u{7f}";
        let page = format!(
            "totp_facade_build_info{{version=\"{evil}\"}} 1\n\
             totp_facade_calls_total{{caller=\"{evil}\",grpc_code=\"{evil}\"}} 3\n\
             totp_facade_refusals_total{{reason=\"{evil}\"}} 3\n\
             grpc_server_handled_total{{grpc_method=\"{evil}\"}} 3\n\
             http_client_request_duration_seconds_count{{url_template=\"{evil}\"}} 3\n\
             totp_facade_reload_last_failed{{file=\"{evil}\"}} 1\n\
             totp_facade_certificate_expiration_timestamp_seconds{{file=\"a\\nb\"}} 1\n"
        );
        let summary = summary(&page);

        let text = crate::cli::top::text::snapshot("127.0.0.1", &summary);
        let lines = drawn(200, 40, &summary, None);

        let is_shown = |char: char| !char.is_control() || char == '\n';
        assert!(text.chars().all(is_shown), "{text:?}");
        assert!(lines.iter().all(|line| line.chars().all(is_shown)), "{lines:#?}");
        assert_eq!(text.matches("\\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{7f}").count(), 7, "{text}");
        assert!(text.contains("! the certificate a\\nb ended"), "{text}");
    }

    #[test]
    fn a_page_without_any_call_is_drawn_with_dashes() {
        let page = "totp_facade_upstream_breaker_open 0\ntotp_facade_build_info 1\n\
                    totp_facade_refusals_total{reason=\"OVERLOADED\"} 0\n";

        let lines = drawn(80, 24, &summary(page), None);

        assert!(lines[0].starts_with("totp-facade, since it started"), "{lines:#?}");
        assert!(
            !lines.iter().any(|it| it.contains("OVERLOADED")),
            "what never happened: {lines:#?}"
        );
        assert_eq!(
            lines[1], "calls/s 0  not OK -  in flight -/-  connections -/-  shed/s 0",
            "{lines:#?}"
        );
    }

    #[test]
    fn a_facade_of_an_older_version_is_said_to_be_one() {
        let page = "totp_facade_calls_total{method=\"Create\",code=\"OK\"} 5\n";

        let lines = drawn(80, 24, &summary(page), None);

        assert_eq!(lines[4], "! this façade is older than top: numbers are missing");
        let callers = lines.iter().position(|it| it.starts_with("Caller")).expect("callers");
        assert!(lines[callers + 1..].iter().all(String::is_empty), "nameless rows: {lines:#?}");
    }
}
