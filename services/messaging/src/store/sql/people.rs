//! Users' rules for being added, and their blocks.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;

use super::{
    Sql,
    admission::{lock_person, rule},
};
use crate::{
    domain::{AddRule, UserId},
    store::{BlockError, People},
};

#[async_trait]
impl People for Sql {
    async fn find_rule(&self, user: UserId) -> Result<Option<AddRule>, Error> {
        let row = sqlx::query("SELECT add_rule FROM people WHERE user_id = $1")
            .bind(user.0)
            .fetch_optional(&self.read)
            .await?;
        row.map_or(Ok(None), |row| rule(&row))
    }

    async fn set_rule(&self, user: UserId, rule: Option<AddRule>) -> Result<(), Error> {
        let _turn = self.write.turn(user.0).await?;
        sqlx::query(
            "INSERT INTO people (user_id, conversation_count, added_count, add_rule) VALUES ($1, 0, 0, $2) \
             ON CONFLICT (user_id) DO UPDATE SET add_rule = excluded.add_rule",
        )
        .bind(user.0)
        .bind(rule.map(AddRule::as_str))
        .execute(&self.write)
        .await?;
        Ok(())
    }

    async fn block(&self, user: UserId, other: UserId, now: Timestamp, limit: u32) -> Result<(), BlockError> {
        let mut tx = self.write.begin_on(user.0).await?;
        lock_person(&mut tx, user).await?;
        sqlx::query(
            "INSERT INTO blocks (user_id, blocked_id, create_time) VALUES ($1, $2, $3) \
             ON CONFLICT (user_id, blocked_id) DO NOTHING",
        )
        .bind(user.0)
        .bind(other.0)
        .bind(DbTimestamp(now))
        .execute(&mut *tx)
        .await?;
        let row =
            sqlx::query("SELECT count(*) AS n FROM blocks WHERE user_id = $1").bind(user.0).fetch_one(&mut *tx).await?;
        let blocked: i64 = row.try_get("n")?;
        if blocked > i64::from(limit) {
            return Err(BlockError::TooMany);
        }
        tx.commit().await?;
        Ok(())
    }

    async fn unblock(&self, user: UserId, other: UserId) -> Result<(), Error> {
        let _turn = self.write.turn(user.0).await?;
        sqlx::query("DELETE FROM blocks WHERE user_id = $1 AND blocked_id = $2")
            .bind(user.0)
            .bind(other.0)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    async fn list_blocked(&self, user: UserId, after: UserId, limit: usize) -> Result<Vec<UserId>, Error> {
        let rows = sqlx::query(
            "SELECT blocked_id FROM blocks WHERE user_id = $1 AND blocked_id > $2 ORDER BY blocked_id LIMIT $3",
        )
        .bind(user.0)
        .bind(after.0)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("blocked_id").map(UserId)).collect::<Result<_, _>>()?)
    }
}
