//! The level of the access log by its name.

use super::AdminError;
use crate::relay::resource::LogLevel;

/// A level by its name; `None` for the configured one.
pub(super) fn of_name(name: &str) -> Result<Option<LogLevel>, AdminError> {
    match name.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "denied" => Ok(Some(LogLevel::Denied)),
        "all" => Ok(Some(LogLevel::All)),
        "off" => Ok(Some(LogLevel::Off)),
        _ => Err(AdminError::Parameter {
            name: "level",
            value: name.to_owned(),
            problem: "one of Denied, All, Off, or empty for what MeshConfig says",
        }),
    }
}

/// Its name.
pub(super) const fn name_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Denied => "Denied",
        LogLevel::All => "All",
        LogLevel::Off => "Off",
    }
}
