//! Reads UpdateUser requests.

use kit::error;
use proto::users::v1::UpdateUserRequest;
use tonic::{Code, Status};

use super::user_id;
use crate::domain::{Change, Revision, UserId};

const HANDLE: &str = "handle";
const DISPLAY_NAME: &str = "display_name";

/// Returns the change that `caller` may make, or the reason of the refusal. The owner is checked first, so that a
/// request for another user's profile reveals nothing about it.
pub(super) fn read(request: UpdateUserRequest, caller: UserId) -> Result<Change, Status> {
    let UpdateUserRequest { user, update_mask } = request;
    let user = user.ok_or_else(|| error::invalid_field("user", "USER_REQUIRED", "must be set"))?;
    let id = user_id("user.user_id", &user.user_id)?;
    if id != caller {
        return Err(error::status(Code::PermissionDenied, "NOT_YOURS", "only a profile's owner may change it"));
    }
    let paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.iter().any(|path| ![HANDLE, DISPLAY_NAME].contains(&path.as_str())) {
        return Err(error::invalid_field("update_mask", "FIELD_UNKNOWN", "may contain handle and display_name only"));
    }
    let named = |field: &str| paths.is_empty() || paths.iter().any(|path| path == field);
    let (handle, display_name) =
        (named(HANDLE).then_some(user.handle), named(DISPLAY_NAME).then_some(user.display_name));
    for (field, value) in [(HANDLE, &handle), (DISPLAY_NAME, &display_name)] {
        if value.as_ref().is_some_and(String::is_empty) {
            let message = "must not be empty if update_mask contains it";
            return Err(error::invalid_field(&format!("user.{field}"), "VALUE_REQUIRED", message));
        }
    }
    let revision = match user.etag.as_str() {
        "" => None,
        etag => Some(Revision::parse(etag).ok_or_else(etag_mismatch)?),
    };
    Ok(Change { id, handle, display_name, revision })
}

pub(super) fn etag_mismatch() -> Status {
    let message = "the profile changed since it was read; read it again and repeat the change";
    error::status(Code::Aborted, kit::reason::ETAG_MISMATCH, message)
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;
    use proto::users::v1::User;
    use uuid::Uuid;

    use super::*;

    fn change(handle: &str, display_name: &str, etag: &str, paths: &[&str]) -> Result<Change, Code> {
        let user = User {
            user_id: Uuid::nil().to_string(),
            handle: handle.to_owned(),
            display_name: display_name.to_owned(),
            etag: etag.to_owned(),
            ..User::default()
        };
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = UpdateUserRequest { user: Some(user), update_mask: Some(FieldMask { paths }) };
        read(request, UserId(Uuid::nil())).map_err(|status| status.code())
    }

    #[test]
    fn only_the_fields_of_the_mask_change() {
        let text = |text: &str| Some(text.to_owned());
        let both = change("ada", "Ada", "3", &[]).unwrap();
        assert_eq!((both.handle, both.display_name, both.revision), (text("ada"), text("Ada"), Some(Revision(3))));
        let one = change("", "Ada", "", &["display_name"]).unwrap();
        assert_eq!((one.handle, one.display_name, one.revision), (None, text("Ada"), None));
        let other = change("ada", "", "", &["handle", "handle"]).unwrap();
        assert_eq!((other.handle, other.display_name), (text("ada"), None));
    }

    #[test]
    fn invalid_update_is_refused() {
        assert_eq!(change("", "Ada", "", &[]), Err(Code::InvalidArgument));
        assert_eq!(change("ada", "Ada", "", &["create_time"]), Err(Code::InvalidArgument));
        assert_eq!(change("ada", "Ada", "made up", &[]), Err(Code::Aborted));
        let without_user = UpdateUserRequest::default();
        assert_eq!(read(without_user, UserId(Uuid::nil())).unwrap_err().code(), Code::InvalidArgument);
    }
}
