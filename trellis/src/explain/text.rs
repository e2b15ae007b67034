//! The explanation as text.

use std::fmt::Write as _;

use super::{
    Explanation,
    browser::Browser,
    commands::{GRAPHQL_SOCKET, Program},
};

/// The text. Commands stand alone on their lines, so that they can be copied; what describes them is a comment.
pub(super) fn of(explanation: &Explanation) -> String {
    let Explanation {
        method, upstream, contract, kind, idempotency, policy, gateway, commands, notes, browser, ..
    } = explanation;
    let mut text = String::new();
    // Writing to a string cannot fail.
    writeln!(text, "{method}").ok();
    row(&mut text, "contract", contract);
    if let Some(prefix) = upstream {
        row(&mut text, "upstream", &format!("gateway.external.{prefix:?}"));
    }
    row(&mut text, "kind", kind.name());
    row(&mut text, "repeating", idempotency.name());
    writeln!(text, "\nPolicy").ok();
    for setting in policy {
        writeln!(text, "  {:<13} {:<44} {}", setting.name, setting.value, setting.source).ok();
    }
    if explanation.callable {
        writeln!(text, "\nCalls to {gateway}").ok();
    } else {
        writeln!(text, "\nNo client can call it.").ok();
    }
    if let Some(command) = &explanation.token {
        writeln!(text, "\n# the access token of a sample user, who signs in or up\n{command}").ok();
    }
    for command in commands {
        writeln!(text, "\n{}\n{}", heading(&command.protocol, command.program), command.text.trim_end()).ok();
    }
    if !notes.is_empty() {
        writeln!(text, "\nNotes").ok();
        notes.iter().for_each(|note| item(&mut text, note));
    }
    if let Some(browser) = browser {
        page(&mut text, browser);
    }
    text
}

fn page(text: &mut String, browser: &Browser) {
    let verdict = if browser.can_call { "can call it" } else { "cannot call it" };
    writeln!(text, "\nA page of {} {verdict}", browser.origin).ok();
    row(text, "CORS", &browser.cors);
    row(text, "cookies", &browser.cookies);
    browser.tls.iter().for_each(|remark| row(text, "TLS", remark));
}

/// A comment in the language of the command.
fn heading(protocol: &str, program: Program) -> String {
    match program {
        Program::Curl | Program::Grpcurl if protocol == "gRPC-Web" => {
            format!("# {protocol}: the request is one frame in base64, and the response is base64 too")
        }
        Program::Curl | Program::Grpcurl => format!("# {protocol}"),
        Program::TypeScript => format!("// {protocol}, TypeScript: Node.js 20 or newer"),
        Program::Python if ["WebSocket", GRAPHQL_SOCKET].contains(&protocol) => {
            format!("# {protocol}, Python: pip install websockets")
        }
        Program::Python => format!("# {protocol}, Python: pip install grpcio grpcio-reflection protobuf"),
    }
}

fn row(text: &mut String, name: &str, value: &str) {
    writeln!(text, "  {name:<13} {value}").ok();
}

fn item(text: &mut String, value: &str) {
    writeln!(text, "  - {value}").ok();
}
